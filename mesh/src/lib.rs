//! The LAN: Zenoh session, key space, discovery, durable queues on sled, the MQTT listener.

pub mod mqtt;
