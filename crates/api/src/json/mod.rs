//! Messages as proto3 JSON and back, by their descriptors: for commands that print answers, and for calls over HTTP.
//!
//! Two liberties on top of the standard mapping, both of Temporal's tools. *Shorthand*: a payload whose encoding says that
//! it is JSON stands as that JSON. And when reading: names of enum values as SDKs wrote them once (`WorkflowTaskStarted`
//! for `EVENT_TYPE_WORKFLOW_TASK_STARTED`).

mod read;
mod shorthand;
mod write;

use std::{fmt, sync::OnceLock};

use prost::{Message, Name};
pub use prost_reflect as reflect;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor};
use serde_json::Value;

/// How payloads stand in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payloads {
    /// As the messages they are: metadata and data in base64.
    Full,
    /// As the JSON they hold, where they hold JSON.
    Shorthand,
}

/// Why JSON is not the message it should be.
#[derive(Debug)]
pub struct NotThatMessage(String);

impl fmt::Display for NotThatMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotThatMessage {}

/// What becomes of fields that a message does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownFields {
    /// They are passed over, as newer clients may send them.
    Ignored,
    /// The JSON is refused.
    Refused,
}

/// The message as JSON: fields by their JSON names in the order of their numbers, unset ones left out.
pub fn to_value<M: Message + Name>(message: &M, payloads: Payloads) -> Value {
    // Every message here comes from these descriptors.
    let dynamic = DynamicMessage::decode(descriptor::<M>(), message.encode_to_vec().as_slice());
    dynamic_to_value(&dynamic.expect("a message is its own descriptor's"), payloads)
}

/// As [`to_value`], of a message of any descriptor of [`descriptors`].
pub fn dynamic_to_value(message: &DynamicMessage, payloads: Payloads) -> Value {
    use prost_reflect::ReflectMessage;
    let mut value = write::to_value(message);
    if payloads == Payloads::Shorthand {
        shorthand::shorten(&message.descriptor(), &mut value);
    }
    value
}

/// Reads a message from its JSON; fields that it does not have are passed over.
pub fn from_value<M: Message + Name + Default>(value: Value, payloads: Payloads) -> Result<M, NotThatMessage> {
    let dynamic = dynamic_from_value(descriptor::<M>(), value, payloads, UnknownFields::Ignored)?;
    M::decode(dynamic.encode_to_vec().as_slice()).map_err(|error| NotThatMessage(error.to_string()))
}

/// As [`from_value`], for any descriptor of [`descriptors`]. Payloads in short that together are more than 4 MiB as
/// messages are refused before any is made: one is many times as large as the digit that may stand for it.
pub fn dynamic_from_value(
    descriptor: MessageDescriptor,
    mut value: Value,
    payloads: Payloads,
    unknown: UnknownFields,
) -> Result<DynamicMessage, NotThatMessage> {
    read::prepare(&descriptor, &mut value, payloads, &mut shorthand::Room::default())?;
    let options = DeserializeOptions::new().deny_unknown_fields(unknown == UnknownFields::Refused);
    DynamicMessage::deserialize_with_options(descriptor, value, &options).map_err(|error| NotThatMessage(error.to_string()))
}

fn descriptor<M: Name>() -> MessageDescriptor {
    descriptors().get_message_by_name(&M::full_name()).expect("messages are generated from these descriptors")
}

/// All messages and services of the API. Read once, never changed.
pub fn descriptors() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(crate::DESCRIPTORS).expect("the build wrote them"))
}

#[cfg(test)]
mod tests;
