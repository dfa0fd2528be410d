//! The two clocks of a cluster, as types that cannot be mixed: a lease is granted on the store's, and kept on
//! the node's own. The wall clocks of nodes decide nothing.

use std::time::Duration;

macro_rules! moment {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(u64);

        impl $name {
            /// A moment from its milliseconds.
            #[must_use]
            pub const fn from_millis(millis: u64) -> Self {
                Self(millis)
            }

            /// Its milliseconds.
            #[must_use]
            pub const fn as_millis(self) -> u64 {
                self.0
            }

            /// The moment this much later.
            #[must_use]
            pub fn after(self, wait: Duration) -> Self {
                Self(self.0.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
            }

            /// How long ago `earlier` was; zero if it lies ahead.
            #[must_use]
            pub const fn since(self, earlier: Self) -> Duration {
                Duration::from_millis(self.0.saturating_sub(earlier.0))
            }
        }
    };
}

moment!(
    /// A moment in milliseconds since this machine was started (`CLOCK_BOOTTIME`, which goes on while the
    /// machine sleeps). Meaningless on another machine.
    BootTime
);
moment!(
    /// A moment on the store's clock, in milliseconds since 1970.
    StoreTime
);
