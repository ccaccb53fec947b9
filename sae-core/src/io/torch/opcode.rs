//! Names of pickle instructions that are refused, for messages.
//!
//! Upstream: `Lib/pickletools.py`.

/// The name of an instruction that is not read: those of protocol 0, which `torch.save` never
/// writes, and those that make objects in other ways than calling a named global.
pub(super) fn name(code: u8) -> Option<&'static str> {
    Some(match code {
        b'P' => "PERSID",
        b'I' => "INT",
        b'L' => "LONG",
        b'F' => "FLOAT",
        b'S' => "STRING",
        b'V' => "UNICODE",
        b'p' => "PUT",
        b'g' => "GET",
        b'i' => "INST",
        b'o' => "OBJ",
        0x82 => "EXT1",
        0x83 => "EXT2",
        0x84 => "EXT4",
        0x92 => "NEWOBJ_EX",
        0x96 => "BYTEARRAY8",
        0x97 => "NEXT_BUFFER",
        0x98 => "READONLY_BUFFER",
        _ => return None,
    })
}
