//! The calls of one short workflow with one activity, recorded: what an echo server answers, and what it is asked.

use std::{fs, io, path::Path};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

/// One call: its path, what was asked, what was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// `/service/Method`.
    pub path: String,
    /// The encoded request.
    pub request: Bytes,
    /// The encoded answer.
    pub answer: Bytes,
}

impl Recorded {
    /// Records one call.
    pub fn new(method: &str, request: &impl Message, answer: &impl Message) -> Self {
        let path = format!("/temporal.api.workflowservice.v1.WorkflowService/{method}");
        Self { path, request: request.encode_to_vec().into(), answer: answer.encode_to_vec().into() }
    }
}

/// Writes calls into a file.
pub fn write(file: &Path, calls: &[Recorded]) -> io::Result<()> {
    let mut bytes = BytesMut::new();
    for call in calls {
        for part in [call.path.as_bytes(), &call.request, &call.answer] {
            bytes.put_u32(u32::try_from(part.len()).map_err(io::Error::other)?);
            bytes.put_slice(part);
        }
    }
    fs::write(file, &bytes)
}

/// Reads them.
pub fn read(file: &Path) -> io::Result<Vec<Recorded>> {
    let mut bytes = Bytes::from(fs::read(file)?);
    let cut_off = || io::Error::new(io::ErrorKind::InvalidData, "a recording that is cut off");
    let mut part = move || -> io::Result<Option<Bytes>> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let length = bytes.try_get_u32().map_err(|_| cut_off())? as usize;
        if bytes.len() < length {
            return Err(cut_off());
        }
        Ok(Some(bytes.split_to(length)))
    };
    let mut calls = Vec::new();
    while let Some(path) = part()? {
        let (request, answer) = (part()?.ok_or_else(cut_off)?, part()?.ok_or_else(cut_off)?);
        let path = String::from_utf8(path.to_vec()).map_err(|_| cut_off())?;
        calls.push(Recorded { path, request, answer });
    }
    Ok(calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("calls");
        let call = |path: &str, bytes: &'static [u8]| Recorded {
            path: path.into(),
            request: Bytes::from_static(bytes),
            answer: Bytes::from_static(b"answer"),
        };
        let calls = [call("/a/B", b"one"), call("/a/C", b"")];
        write(&file, &calls).unwrap();
        assert_eq!(read(&file).unwrap(), calls);
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(read(&file).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
