//! The TestService of time-skipping servers: nothing of it is built, every method answers UNIMPLEMENTED.

use sempre_api::v1::testservice::test_service_server::TestService;

#[derive(Debug)]
pub(crate) struct NoTimeSkipping;

impl TestService for NoTimeSkipping {}
