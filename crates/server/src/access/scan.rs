//! Reads strings out of an encoded message without decoding the rest of it.

/// Fields from a message down to a string, by their numbers.
pub(crate) type Path = Vec<u32>;

/// What a message cannot be read for: it is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Gives every string (or bytes) at `path` to `found`, however often it is there: which of them counts is the decoder's
/// business, and whoever checks must check them all.
pub(crate) fn strings<'m>(message: &'m [u8], path: &[u32], found: &mut impl FnMut(&'m [u8])) -> Result<(), Malformed> {
    let Some((&wanted, rest)) = path.split_first() else {
        found(message);
        return Ok(());
    };
    each(message, wanted, &mut |value| match value {
        Value::Bytes(bytes) => strings(bytes, rest, found),
        // The decoder refuses another kind of value for the field.
        Value::Number(_) => Ok(()),
    })
}

/// The number (or enum value) at `path`: 0 where there is none, and of several the last, as the decoder has it.
pub(crate) fn number(message: &[u8], path: &[u32]) -> Result<u64, Malformed> {
    let Some((&last, outer)) = path.split_last() else { return Ok(0) };
    let (mut number, mut malformed) = (0, false);
    strings(message, outer, &mut |inner| {
        malformed |= each(inner, last, &mut |value| {
            if let Value::Number(value) = value {
                number = value;
            }
            Ok(())
        })
        .is_err();
    })?;
    if malformed { Err(Malformed) } else { Ok(number) }
}

/// What a field can hold that is looked at here.
enum Value<'m> {
    Bytes(&'m [u8]),
    Number(u64),
}

/// Gives every value of a field of a message.
fn each<'m>(message: &'m [u8], wanted: u32, found: &mut dyn FnMut(Value<'m>) -> Result<(), Malformed>) -> Result<(), Malformed> {
    let mut bytes = message;
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let number = u32::try_from(tag >> 3).map_err(|_| Malformed)?;
        let value = match tag & 7 {
            0 => Some(Value::Number(varint(&mut bytes)?)),
            1 => take(&mut bytes, 8).map(|_| None)?,
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).map_err(|_| Malformed)?;
                Some(Value::Bytes(take(&mut bytes, length)?))
            }
            5 => take(&mut bytes, 4).map(|_| None)?,
            // Groups: nobody sends them.
            _ => return Err(Malformed),
        };
        if let Some(value) = value.filter(|_| number == wanted) {
            found(value)?;
        }
    }
    Ok(())
}

/// The string at `path` that counts for the decoder: the last. Empty if there is none.
pub(crate) fn last<'m>(message: &'m [u8], path: &[u32]) -> Result<&'m [u8], Malformed> {
    let mut last: &[u8] = &[];
    strings(message, path, &mut |found| last = found)?;
    Ok(last)
}

fn take<'m>(bytes: &mut &'m [u8], length: usize) -> Result<&'m [u8], Malformed> {
    let (taken, rest) = bytes.split_at_checked(length).ok_or(Malformed)?;
    *bytes = rest;
    Ok(taken)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use sempre_api::v1::{
        command::{Command, StartChildWorkflowExecutionCommandAttributes, command::Attributes},
        workflowservice::{RespondWorkflowTaskCompletedRequest, StartWorkflowExecutionRequest},
    };

    use super::*;

    fn all(message: &[u8], path: &[u32]) -> Result<Vec<String>, Malformed> {
        let mut found = Vec::new();
        strings(message, path, &mut |bytes| found.push(String::from_utf8_lossy(bytes).into_owned()))?;
        Ok(found)
    }

    #[test]
    #[allow(deprecated, reason = "SDKs send it")]
    fn strings_are_found_at_any_depth() {
        let start = StartWorkflowExecutionRequest { namespace: "n".into(), workflow_id: "w".into(), ..Default::default() };
        assert_eq!(all(&start.encode_to_vec(), &[1]), Ok(vec!["n".into()]));
        assert_eq!(all(&start.encode_to_vec(), &[2]), Ok(vec!["w".into()]));
        let child = |namespace: &str| Command {
            attributes: Some(Attributes::StartChildWorkflowExecutionCommandAttributes(Box::new(
                StartChildWorkflowExecutionCommandAttributes { namespace: namespace.into(), ..Default::default() },
            ))),
            ..Default::default()
        };
        let commands = vec![child("a"), Command::default(), child("b")];
        let completed = RespondWorkflowTaskCompletedRequest { commands, namespace: "own".into(), ..Default::default() }.encode_to_vec();
        let rules = crate::access::table::Rules::new();
        let paths = rules.command_paths();
        let found: Vec<String> = paths.flat_map(|path| all(&completed, path).unwrap()).collect();
        assert_eq!(found, ["a", "b"]);
    }

    #[test]
    fn numbers_are_found_and_the_last_counts() {
        let queue = |kind: i32| [&[0x12, 4, 0x0a, 0, 0x10][..], &[kind as u8]].concat();
        let poll = [queue(2), queue(1), vec![0x18, 9]].concat();
        assert_eq!((number(&poll, &[2, 2]), number(&poll, &[3]), number(&poll, &[2, 3])), (Ok(1), Ok(9), Ok(0)));
        assert_eq!(number(b"\x12\x02\x0a\x05", &[2, 2]), Err(Malformed));
        assert_eq!(number(b"\x12\x01a", &[2]), Ok(0), "it is no number");
    }

    #[test]
    fn every_occurrence_is_found_and_junk_is_told() {
        let twice = [&b"\x0a\x01a"[..], b"\x10\x05", b"\x0a\x01b", b"\x0a\x00"].concat();
        assert_eq!(all(&twice, &[1]), Ok(vec!["a".into(), "b".into(), String::new()]));
        assert_eq!((last(&twice[..8], &[1]), last(&twice, &[2])), (Ok(&b"b"[..]), Ok(&b""[..])));
        assert_eq!(all(b"", &[1]), Ok(vec![]));
        for junk in [&b"\x0a\x05a"[..], b"\x0b", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x09\x00", b"\x0a"] {
            assert_eq!(all(junk, &[1]), Err(Malformed), "{junk:?}");
        }
    }
}
