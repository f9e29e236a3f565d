//! Any bytes as a backup: as they are, and as the payloads of frames whose numbers and checksums are right.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sempre_store::backup::{BackupError, Reader};

fn read(bytes: &[u8]) -> Result<(u64, u64), BackupError> {
    let mut reader = Reader::open(bytes)?;
    let (mut rows, mut count) = (0, 0);
    while let Some(found) = reader.next_rows()? {
        rows += found.len() as u64;
        count += found.iter().map(|(_, key, value)| (key.len() + value.len()) as u64).sum::<u64>();
    }
    assert_eq!((reader.totals().rows, reader.totals().bytes), (rows, count));
    Ok((rows, count))
}

/// Frames out of: kind (1), length of the payload (2), payload. An end that counts right is put behind kind 3.
fn framed(mut data: &[u8]) -> Vec<u8> {
    let mut backup = b"SEMPREBK".to_vec();
    let mut number = 0u64;
    while let Some((&[kind, low, high], rest)) = data.split_first_chunk::<3>() {
        let len = usize::from(high) << 8 | usize::from(low);
        let (payload, rest) = rest.split_at(len.min(rest.len()));
        data = rest;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&number.to_be_bytes());
        hasher.update(&[kind % 4]);
        hasher.update(payload);
        backup.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        backup.extend_from_slice(&hasher.finalize().to_be_bytes());
        backup.extend_from_slice(&number.to_be_bytes());
        backup.push(kind % 4);
        backup.extend_from_slice(payload);
        number += 1;
    }
    backup
}

fuzz_target!(|data: &[u8]| {
    let _ = read(data);
    let whole = framed(data);
    if read(&whole).is_ok() {
        // Nothing that was cut passes.
        for cut in [whole.len() - 1, whole.len() / 2] {
            assert!(read(&whole[..cut]).is_err());
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert!(read(&longer).is_err());
    }
});
