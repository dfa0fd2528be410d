//! The domain: a folder per service, a file per aggregate.
