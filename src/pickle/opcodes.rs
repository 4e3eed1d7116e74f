//! The opcodes of pickles by the names that Python's `pickletools` gives them.

macro_rules! opcodes {
    (
        read { $($known:ident = $known_byte:literal,)* }
        never { $($never:ident = $never_byte:literal,)* }
    ) => {
        $(pub const $known: u8 = $known_byte;)*

        /// The opcode's name; None: there is none of this number.
        pub fn name(opcode: u8) -> Option<&'static str> {
            match opcode {
                $($known_byte => Some(stringify!($known)),)*
                $($never_byte => Some(stringify!($never)),)*
                _ => None,
            }
        }
    };
}

opcodes! {
    read {
        MARK = b'(', STOP = b'.', PROTO = 0x80, FRAME = 0x95,
        POP = b'0', POP_MARK = b'1', DUP = b'2',
        NONE = b'N', NEWTRUE = 0x88, NEWFALSE = 0x89,
        INT = b'I', BININT = b'J', BININT1 = b'K', BININT2 = b'M',
        LONG = b'L', LONG1 = 0x8a, LONG4 = 0x8b, FLOAT = b'F', BINFLOAT = b'G',
        BINSTRING = b'T', SHORT_BINSTRING = b'U',
        BINBYTES = b'B', SHORT_BINBYTES = b'C', BINBYTES8 = 0x8e, BYTEARRAY8 = 0x96,
        BINUNICODE = b'X', SHORT_BINUNICODE = 0x8c, BINUNICODE8 = 0x8d,
        EMPTY_LIST = b']', LIST = b'l', APPEND = b'a', APPENDS = b'e',
        EMPTY_DICT = b'}', DICT = b'd', SETITEM = b's', SETITEMS = b'u',
        EMPTY_SET = 0x8f, ADDITEMS = 0x90, FROZENSET = 0x91,
        EMPTY_TUPLE = b')', TUPLE = b't', TUPLE1 = 0x85, TUPLE2 = 0x86, TUPLE3 = 0x87,
        BINPUT = b'q', LONG_BINPUT = b'r', MEMOIZE = 0x94, BINGET = b'h', LONG_BINGET = b'j',
        GLOBAL = b'c', STACK_GLOBAL = 0x93, REDUCE = b'R', BUILD = b'b',
        INST = b'i', OBJ = b'o', NEWOBJ = 0x81, NEWOBJ_EX = 0x92, BINPERSID = b'Q',
    }
    never {
        STRING = b'S', UNICODE = b'V', GET = b'g', PUT = b'p', PERSID = b'P',
        EXT1 = 0x82, EXT2 = 0x83, EXT4 = 0x84, NEXT_BUFFER = 0x97, READONLY_BUFFER = 0x98,
    }
}
