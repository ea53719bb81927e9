//! The WAN: wire protocol on quinn, the device's side of it, and the service wayside-cloud.
