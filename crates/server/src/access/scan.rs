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
    let mut bytes = message;
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let number = u32::try_from(tag >> 3).map_err(|_| Malformed)?;
        match tag & 7 {
            0 => drop(varint(&mut bytes)?),
            1 => drop(take(&mut bytes, 8)?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).map_err(|_| Malformed)?;
                let value = take(&mut bytes, length)?;
                if number == wanted {
                    strings(value, rest, found)?;
                }
            }
            5 => drop(take(&mut bytes, 4)?),
            // Groups: nobody sends them.
            _ => return Err(Malformed),
        }
        // The decoder refuses another kind of value for the field.
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
