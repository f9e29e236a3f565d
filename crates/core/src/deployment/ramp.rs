//! The side of a ramp on which a workflow id falls: FarmHash's 32-bit fingerprint of the id, as a share of 100
//! (spec 05 §9.2). Everybody who routes by percentage has to agree on it, clients with tools of their own too.

const C1: u32 = 0xcc9e_2d51;
const C2: u32 = 0x1b87_3593;
const ADD: u32 = 0xe654_6b64;

/// The share, 0 to 100, that a ramp must have reached for this id to be on it.
pub fn ramp_threshold(workflow_id: &str) -> f64 {
    100.0 * (f64::from(fingerprint32(workflow_id.as_bytes())) / (f64::from(u32::MAX) + 1.0))
}

/// FarmHash's `Fingerprint32`.
pub fn fingerprint32(bytes: &[u8]) -> u32 {
    match bytes.len() {
        0..=4 => up_to_4(bytes),
        5..=12 => up_to_12(bytes),
        13..=24 => up_to_24(bytes),
        _ => longer(bytes),
    }
}

fn fetch(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn mix(a: u32, h: u32) -> u32 {
    let h = h ^ a.wrapping_mul(C1).rotate_right(17).wrapping_mul(C2);
    h.rotate_right(19).wrapping_mul(5).wrapping_add(ADD)
}

fn finish(mut h: u32) -> u32 {
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

fn up_to_4(bytes: &[u8]) -> u32 {
    let (mut b, mut c) = (0_u32, 9_u32);
    for byte in bytes {
        b = b.wrapping_mul(C1).wrapping_add(i32::from(*byte as i8) as u32);
        c ^= b;
    }
    finish(mix(b, mix(bytes.len() as u32, c)))
}

fn up_to_12(bytes: &[u8]) -> u32 {
    let length = bytes.len() as u32;
    let a = length.wrapping_add(fetch(bytes, 0));
    let b = length.wrapping_mul(5).wrapping_add(fetch(bytes, bytes.len() - 4));
    let c = 9_u32.wrapping_add(fetch(bytes, (bytes.len() >> 1) & 4));
    finish(mix(c, mix(b, mix(a, length.wrapping_mul(5)))))
}

fn up_to_24(bytes: &[u8]) -> u32 {
    let (length, half) = (bytes.len(), bytes.len() >> 1);
    let [mut a, b, c, d, e, f] = [half - 4, 4, length - 8, half, 0, length - 4].map(|at| fetch(bytes, at));
    let mut h = d.wrapping_mul(C1).wrapping_add(length as u32);
    a = a.rotate_right(12).wrapping_add(f);
    h = mix(c, h).wrapping_add(a);
    a = a.rotate_right(3).wrapping_add(c);
    h = mix(e, h).wrapping_add(a);
    a = a.wrapping_add(f).rotate_right(12).wrapping_add(d);
    h = mix(b, h).wrapping_add(a);
    finish(h)
}

fn longer(bytes: &[u8]) -> u32 {
    let length = bytes.len();
    let tail = |back: usize| fetch(bytes, length - back).wrapping_mul(C1).rotate_right(17).wrapping_mul(C2);
    let stir = |h: u32, a: u32| (h ^ a).rotate_right(19).wrapping_mul(5).wrapping_add(ADD);
    let mut h = stir(stir(length as u32, tail(4)), tail(16));
    let mut g = stir(stir(C1.wrapping_mul(length as u32), tail(8)), tail(12));
    let mut f = C1.wrapping_mul(length as u32).wrapping_add(tail(20)).rotate_right(19).wrapping_add(113);
    for block in 0..(length - 1) / 20 {
        let [a, b, c, d, e] = [0, 4, 8, 12, 16].map(|at| fetch(bytes, block * 20 + at));
        h = h.wrapping_add(a);
        g = g.wrapping_add(b);
        f = f.wrapping_add(c);
        h = mix(d, h).wrapping_add(e);
        g = mix(c, g).wrapping_add(a);
        f = mix(b.wrapping_add(e.wrapping_mul(C1)), f).wrapping_add(d);
        f = f.wrapping_add(g);
        g = g.wrapping_add(f);
    }
    let fold = |x: u32| x.rotate_right(11).wrapping_mul(C1).rotate_right(17).wrapping_mul(C1);
    let (g, f) = (fold(g), fold(f));
    let join = |h: u32, x: u32| h.wrapping_add(x).rotate_right(19).wrapping_mul(5).wrapping_add(ADD).rotate_right(17).wrapping_mul(C1);
    join(join(h, g), f)
}

#[cfg(test)]
mod tests {
    use super::fingerprint32;

    /// Recorded from the library that the reference server uses.
    #[test]
    fn fingerprints_are_those_of_the_reference() {
        let known = [
            ("", 3_696_677_242),
            ("a", 1_016_544_589),
            ("abcd", 2_562_006_677),
            ("order-7", 3_231_798_285),
            ("order-12345", 3_737_605_724),
            ("order-1234567", 3_387_610_028),
            ("wf-0123456789-0123456789", 3_990_551_864),
            ("wf-0123456789-0123456789-0123456789-0123456789", 1_900_708_197),
            ("bcd0e6b1-3cb0-4d0a-a3c9-b0f1c6d4f2a1", 3_793_690_634),
            ("ü-workflow", 3_334_436_418),
        ];
        for (text, hash) in known {
            assert_eq!(fingerprint32(text.as_bytes()), hash, "{text:?}");
        }
    }
}
