//! Who hears what in the cloud.
