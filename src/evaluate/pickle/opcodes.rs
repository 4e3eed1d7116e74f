//! The opcodes of pickles by the names that Python's `pickletools` gives them.

macro_rules! opcodes {
    (
        read { $($known:ident = $known_byte:literal,)* }
        refused { $($refused:ident = $refused_byte:literal,)* }
    ) => {
        $(pub const $known: u8 = $known_byte;)*

        /// The opcode's name; None: there is none of this number.
        pub fn name(opcode: u8) -> Option<&'static str> {
            match opcode {
                $($known_byte => Some(stringify!($known)),)*
                $($refused_byte => Some(stringify!($refused)),)*
                _ => None,
            }
        }
    };
}

opcodes! {
    read {
        MARK = b'(', STOP = b'.', PROTO = 0x80, FRAME = 0x95,
        NONE = b'N', NEWTRUE = 0x88, NEWFALSE = 0x89,
        BININT = b'J', BININT1 = b'K', BININT2 = b'M',
        BINSTRING = b'T', SHORT_BINSTRING = b'U',
        BINBYTES = b'B', SHORT_BINBYTES = b'C', BINBYTES8 = 0x8e, BYTEARRAY8 = 0x96,
        BINUNICODE = b'X', SHORT_BINUNICODE = 0x8c,
        EMPTY_LIST = b']', APPEND = b'a', APPENDS = b'e',
        EMPTY_TUPLE = b')', TUPLE = b't', TUPLE1 = 0x85, TUPLE2 = 0x86, TUPLE3 = 0x87,
        BINPUT = b'q', LONG_BINPUT = b'r', MEMOIZE = 0x94, BINGET = b'h', LONG_BINGET = b'j',
        GLOBAL = b'c', STACK_GLOBAL = 0x93, REDUCE = b'R', BUILD = b'b',
    }
    refused {
        POP = b'0', POP_MARK = b'1', DUP = b'2',
        INT = b'I', LONG = b'L', LONG1 = 0x8a, LONG4 = 0x8b, FLOAT = b'F', BINFLOAT = b'G',
        STRING = b'S', UNICODE = b'V', BINUNICODE8 = 0x8d,
        LIST = b'l', DICT = b'd', EMPTY_DICT = b'}', SETITEM = b's', SETITEMS = b'u',
        EMPTY_SET = 0x8f, ADDITEMS = 0x90, FROZENSET = 0x91,
        GET = b'g', PUT = b'p', PERSID = b'P', BINPERSID = b'Q',
        INST = b'i', OBJ = b'o', NEWOBJ = 0x81, NEWOBJ_EX = 0x92,
        EXT1 = 0x82, EXT2 = 0x83, EXT4 = 0x84, NEXT_BUFFER = 0x97, READONLY_BUFFER = 0x98,
    }
}
