//! The link that lets a device join: where the cloud is, its key, and a token.
