//! What uploaded bytes are, before any parser of wasm sees them: a component, or a core module that may become one.

use super::ComponentError;

const MAGIC: &[u8; 4] = b"\0asm";
/// The four bytes behind the magic: a version, and whether this is a module or a component.
const CORE_MODULE: [u8; 4] = [1, 0, 0, 0];
const COMPONENT: [u8; 4] = [0x0d, 0, 1, 0];
const ELF: &[u8; 4] = b"\x7fELF";

/// Refuses what is no whole binary component or module of at most `max` bytes. What passes is still to be validated.
pub fn check(bytes: &[u8], max: u64) -> Result<(), ComponentError> {
    if bytes.len() as u64 > max {
        return Err(ComponentError::TooLarge { bytes: bytes.len() as u64, max });
    }
    if bytes.starts_with(ELF) {
        return Err(ComponentError::Precompiled);
    }
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        return Err(ComponentError::NotWasm);
    };
    match rest.first_chunk() {
        None => Err(ComponentError::Truncated { at: bytes.len() as u64 }),
        Some(&CORE_MODULE | &COMPONENT) => check_sections(bytes),
        Some(version) => Err(ComponentError::Invalid { detail: format!("unknown version {version:02x?}") }),
    }
}

pub fn is_core_module(bytes: &[u8]) -> bool {
    bytes.strip_prefix(MAGIC).is_some_and(|rest| rest.starts_with(&CORE_MODULE))
}

/// Walks the outermost sections (an id, a size, so many bytes): the last one must end where the file ends.
fn check_sections(bytes: &[u8]) -> Result<(), ComponentError> {
    let truncated = ComponentError::Truncated { at: bytes.len() as u64 };
    let mut rest = &bytes[8..];
    while let [_id, sized @ ..] = rest {
        let (size, body) = leb128(sized).ok_or_else(|| truncated.clone())?;
        rest = body.get(size as usize..).ok_or_else(|| truncated.clone())?;
    }
    Ok(())
}

/// An unsigned 32-bit number and what follows it.
fn leb128(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut value = 0u64;
    for (i, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((u32::try_from(value).ok()?, &bytes[i + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(bytes: &[u8]) -> &'static str {
        check(bytes, 100).map_or_else(|error| error.code(), |()| "taken")
    }

    #[test]
    fn each_kind_of_file_that_is_no_component_is_told_apart() {
        for (bytes, expected) in [
            (&b""[..], "component-not-wasm"),
            (b"(component)", "component-not-wasm"),
            (b"hello, this is text", "component-not-wasm"),
            (b"\x7fELF\x02\x01\x01", "component-precompiled"),
            (b"\0asm", "component-truncated"),
            (b"\0asm\x0d\0", "component-truncated"),
            (b"\0asm\x01\0\0\0", "taken"),
            (b"\0asm\x02\0\0\0", "component-invalid"),
            (b"\0asm\x0d\0\x01\0", "taken"),
            (b"\0asm\x0d\0\x01\0\x00\x02ab", "taken"),
            (b"\0asm\x0d\0\x01\0\x00\x02a", "component-truncated"),
            (b"\0asm\x0d\0\x01\0\x00", "component-truncated"),
            (b"\0asm\x0d\0\x01\0\x00\xff\xff\xff\xff\xff", "component-truncated"),
            (&[0; 101], "component-too-large"),
        ] {
            assert_eq!(code(bytes), expected, "{bytes:?}");
        }
    }
}
