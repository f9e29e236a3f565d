//! The connection to a server.

mod tls;

use std::time::Duration;

use sempre_api::{
    grpc::health::v1::health_client::HealthClient,
    sempre::v1::{
        access_service_client::AccessServiceClient, alert_service_client::AlertServiceClient, flow_service_client::FlowServiceClient,
        inspect_service_client::InspectServiceClient, operate_service_client::OperateServiceClient,
        steer_service_client::SteerServiceClient, storage_service_client::StorageServiceClient,
        version_service_client::VersionServiceClient,
    },
    v1::{
        operatorservice::operator_service_client::OperatorServiceClient, workflowservice::workflow_service_client::WorkflowServiceClient,
    },
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataKey, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use super::{Failure, settings::Settings};

/// How long connecting may take when nothing else is said.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections are probed this often, so that a long poll notices a server that is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Set on calls of ours; servers tell clients apart by it.
const CLIENT_NAME: &str = "sempre-cli";

/// A channel that sends the user's headers.
pub(crate) type Service = InterceptedService<Channel, Headers>;

/// The services of one server.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) workflow: WorkflowServiceClient<Service>,
    pub(crate) operator: OperatorServiceClient<Service>,
    pub(crate) alert: AlertServiceClient<Service>,
    pub(crate) flow: FlowServiceClient<Service>,
    pub(crate) access: AccessServiceClient<Service>,
    pub(crate) inspect: InspectServiceClient<Service>,
    pub(crate) operate: OperateServiceClient<Service>,
    pub(crate) storage: StorageServiceClient<Service>,
    pub(crate) steer: SteerServiceClient<Service>,
    pub(crate) version: VersionServiceClient<Service>,
    pub(crate) health: HealthClient<Service>,
}

impl Client {
    /// Connects, so that a server that is not there is told as that.
    pub(crate) async fn connect(settings: &Settings) -> Result<Self, Failure> {
        let address = settings.address.trim_start_matches("http://").trim_start_matches("https://");
        let odd = |_| Failure::new(format_args!("{address} is not an address such as 127.0.0.1:7233"));
        if address.rsplit(':').next().is_none_or(|port| port.parse::<u16>().is_err()) {
            return Err(Failure::new(format_args!("{address} is not an address such as 127.0.0.1:7233")));
        }
        let scheme = if settings.tls.is_some() { "https" } else { "http" };
        let timeout = settings.connect_timeout.and_then(|given| Duration::try_from(given).ok()).unwrap_or(CONNECT_TIMEOUT);
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}")).map_err(odd)?;
        endpoint = endpoint.connect_timeout(timeout).http2_keep_alive_interval(KEEP_ALIVE);
        if let Some(authority) = &settings.authority {
            let origin = format!("{scheme}://{authority}").parse();
            endpoint = endpoint.origin(origin.map_err(|_| Failure::new(format_args!("{authority} is no name of a server")))?);
        }
        let absent = |_| Failure::new(format_args!("no server answers at {address}"));
        let channel = match &settings.tls {
            None => endpoint.connect().await.map_err(absent)?,
            Some(tls) => {
                let connector = tls::connector(tls, address)?;
                endpoint.connect_with_connector(connector).await.map_err(|error| tls::failure(address, &error))?
            }
        };
        let headers = Headers::of(settings)?;
        let service = || InterceptedService::new(channel.clone(), headers.clone());
        Ok(Self {
            workflow: WorkflowServiceClient::new(service()).max_decoding_message_size(usize::MAX),
            operator: OperatorServiceClient::new(service()).max_decoding_message_size(usize::MAX),
            alert: AlertServiceClient::new(service()).max_decoding_message_size(usize::MAX),
            flow: FlowServiceClient::new(service()).max_decoding_message_size(usize::MAX),
            access: AccessServiceClient::new(service()).max_decoding_message_size(usize::MAX),
            inspect: InspectServiceClient::new(service()).max_decoding_message_size(usize::MAX),
            operate: OperateServiceClient::new(service()),
            storage: StorageServiceClient::new(service()).max_decoding_message_size(usize::MAX),
            steer: SteerServiceClient::new(service()),
            version: VersionServiceClient::new(service()).max_decoding_message_size(usize::MAX),
            health: HealthClient::new(service()),
        })
    }
}

/// What goes with every call.
#[derive(Clone)]
pub(crate) struct Headers(Vec<(MetadataKey<Ascii>, MetadataValue<Ascii>)>);

impl Headers {
    fn of(settings: &Settings) -> Result<Self, Failure> {
        let mut pairs =
            vec![("client-name".to_owned(), CLIENT_NAME.to_owned()), ("client-version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
        pairs.extend(settings.api_key.iter().map(|key| ("authorization".to_owned(), format!("Bearer {key}"))));
        pairs.push(("temporal-namespace".to_owned(), settings.namespace.clone()));
        pairs.extend(settings.grpc_meta.iter().cloned());
        let headers = pairs.into_iter().map(|(name, value)| {
            let wrong = || Failure::new(format_args!("{name} cannot be sent as a header"));
            let key = name.to_lowercase().parse().map_err(|_| wrong())?;
            Ok((key, value.parse().map_err(|_| wrong())?))
        });
        Ok(Self(headers.collect::<Result<_, Failure>>()?))
    }
}

impl Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        for (name, value) in &self.0 {
            request.metadata_mut().insert(name.clone(), value.clone());
        }
        Ok(request)
    }
}
