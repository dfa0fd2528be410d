//! Wire types of the API and, with the feature client, a client for it.
