//! Little-endian integers of alignment 1, so that structures made of them have no padding.

use bytemuck::{Pod, Zeroable};
use core::fmt;

macro_rules! little_endian {
    ($($name:ident: $native:ty, $bytes:literal, $text:literal;)*) => {$(
        #[doc = $text]
        #[derive(Clone, Copy, Default, PartialEq, Eq, Pod, Zeroable)]
        #[repr(transparent)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// The value as it is stored.
            pub const fn new(value: $native) -> Self {
                Self(value.to_le_bytes())
            }

            /// The value.
            pub const fn get(self) -> $native {
                <$native>::from_le_bytes(self.0)
            }

            /// Stores a value.
            pub const fn set(&mut self, value: $native) {
                self.0 = value.to_le_bytes();
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.get().fmt(f)
            }
        }

        impl From<$native> for $name {
            fn from(value: $native) -> Self {
                Self::new(value)
            }
        }
    )*};
}

little_endian! {
    Le16: u16, 2, "A `u16`, little-endian.";
    Le32: u32, 4, "A `u32`, little-endian.";
    Le64: u64, 8, "A `u64`, little-endian.";
    Le64s: i64, 8, "An `i64`, little-endian.";
}
