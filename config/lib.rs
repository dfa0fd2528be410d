//! Settings: defaults < a TOML file < `PROGNET_*` < flags, each value with the place it came from.
//!
//! `sections.rs` is the manual: one line a key. Whatever a source says becomes text and is parsed by the key's
//! type, so that a value means the same wherever it is written, and a bad one is refused in the same words.

mod secret;
mod sections;
mod sources;
mod value;

pub use secret::{Hidden, Secret};
pub use sections::{Auth, Entities, Http, Key, Limits, Log, Mail, Settings, Storage, Tenancy};
pub use sources::{Error, Mistake, Origin, Sources};
pub use value::{Bytes, DevInbox, LogFormat, PublicUrl, SmtpSecurity, Value};
