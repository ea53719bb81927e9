//! MQTT topics and filters: validity and matching.
