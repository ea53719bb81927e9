//! What a device may say of itself, and send.

use wayside_config::{identity::DeviceId, limits, workload::is_name};

use crate::{
    frame::Hello,
    message::{Batch, MAX_BATCH_MESSAGES},
};

/// Names of devices become levels of topics; all of a `Hello` is kept in memory.
pub(super) fn check_hello(hello: &Hello) -> Result<(), String> {
    let name = &hello.name;
    if name.is_empty() || name.len() > limits::LABEL_BYTES || name.contains(['/', '+', '#', '\0']) {
        return Err("the device's name must have 1 to 255 bytes and none of / + #: change it".into());
    }
    let fits = |text: &String| text.len() <= limits::LABEL_BYTES;
    if hello.labels.len() > limits::LABELS
        || !hello.labels.iter().all(|(key, value)| fits(key) && fits(value))
    {
        return Err("at most 100 labels of 255 bytes: remove some".into());
    }
    if !fits(&hello.version) {
        return Err("the daemon's version has more than 255 bytes".into());
    }
    Ok(())
}

/// Gives the number of the batch's last message.
pub(super) fn check_batch(batch: &Batch, device: DeviceId) -> Result<u64, String> {
    let named = batch.route.split_once('/').is_some_and(|(w, r)| is_name(w) && is_name(r));
    if !named {
        return Err("a batch whose route is not WORKLOAD/ROUTE".into());
    }
    if batch.messages.is_empty() || batch.messages.len() > MAX_BATCH_MESSAGES {
        return Err(format!("a batch of {} messages", batch.messages.len()));
    }
    if batch.messages.iter().any(|message| message.origin != device) {
        return Err("a message of another device".into());
    }
    if batch.after >= batch.first_seq {
        return Err("a batch that begins before what it follows".into());
    }
    batch
        .first_seq
        .checked_add(batch.messages.len() as u64 - 1)
        .ok_or_else(|| "a batch whose numbers overflow".into())
}
