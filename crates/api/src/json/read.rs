//! What is put into the standard form before JSON is read.

use prost_reflect::{EnumDescriptor, Kind, MessageDescriptor};
use serde_json::Value;

use super::{
    NotThatMessage, Payloads,
    shorthand::{self, PAYLOAD, PAYLOADS, Room},
};

/// Brings `value`, JSON of a message of `descriptor`, into the standard form. Refused: more payloads in short than there is
/// room for.
pub(super) fn prepare(
    descriptor: &MessageDescriptor,
    value: &mut Value,
    payloads: Payloads,
    room: &mut Room,
) -> Result<(), NotThatMessage> {
    if payloads == Payloads::Shorthand {
        match descriptor.full_name() {
            PAYLOAD => return shorthand::long_form(value, room),
            PAYLOADS => {
                if let Value::Array(list) = value {
                    list.iter_mut().try_for_each(|value| shorthand::long_form(value, room))?;
                    *value = serde_json::json!({ "payloads": value.take() });
                }
                return Ok(());
            }
            _ => {}
        }
    }
    if let Value::Object(object) = value {
        for field in descriptor.fields() {
            if let (Kind::Enum(of), Some(value)) = (field.kind(), shorthand::field_of(object, &field)) {
                match value {
                    Value::Array(list) => list.iter_mut().for_each(|value| full_name(&of, value)),
                    value => full_name(&of, value),
                }
            }
        }
    }
    let mut prepared = Ok(());
    shorthand::each_message(descriptor, value, &mut |of, value| {
        if prepared.is_ok() {
            prepared = prepare(of, value, payloads, room);
        }
    });
    prepared
}

/// `EVENT_TYPE_TIMER_FIRED` for `TimerFired`; what is no such name stays.
fn full_name(of: &EnumDescriptor, value: &mut Value) {
    let Value::String(given) = value else { return };
    if of.get_value_by_name(given).is_some() {
        return;
    }
    let plain = |name: &str| name.replace('_', "").to_lowercase();
    let prefix = plain(of.name());
    let wanted = plain(given);
    if let Some(found) = of.values().find(|value| plain(value.name()).strip_prefix(&prefix) == Some(wanted.as_str())) {
        *value = Value::String(found.name().to_owned());
    }
}
