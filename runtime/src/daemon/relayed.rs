//! Operators' sealed requests that the cloud carries. It can hold them back; it can neither make one nor send one a
//! second time, for they are answered as those over the mesh are.

use std::{rc::Rc, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures_util::{FutureExt, future::LocalBoxFuture};
use tokio::sync::Semaphore;
use wayside_actors::frame::MAX_ANSWER_BYTES;

use super::control::Control;
use crate::shell::{Device, SealedRequests};

/// Requests that are answered at a time: a cloud that floods the device with them costs it no more.
const AT_A_TIME: usize = 32;

/// The largest sealed reply whose base64 fits an answer.
const MAX_REPLY_BYTES: usize = MAX_ANSWER_BYTES / 4 * 3;

/// Whoever answers.
struct Relayed {
    control: Arc<Control>,
    turns: Arc<Semaphore>,
}

/// From now on requests by way of the cloud are answered.
pub(super) fn answer_cloud(device: &Device, control: &Arc<Control>) {
    let relayed = Relayed { control: Arc::clone(control), turns: Arc::new(Semaphore::new(AT_A_TIME)) };
    // Set once in a daemon's life.
    let _ = device.adapters().sealed.set(Rc::new(relayed));
}

impl SealedRequests for Relayed {
    fn answer(&self, request: Bytes) -> LocalBoxFuture<'static, Result<String, String>> {
        let (control, turn) = (Arc::clone(&self.control), Arc::clone(&self.turns).try_acquire_owned());
        async move {
            let _turn = turn.map_err(|_| "the device answers as many requests already as it can: ask again")?;
            let reply = control.carried(&request).await;
            let reply = if reply.len() > MAX_REPLY_BYTES {
                let reason = format!("the answer has more than {MAX_REPLY_BYTES} bytes, too many for the way through a cloud: ask on its own network with --lan");
                control.refuse(&request, reason)
            } else {
                reply
            };
            Ok(BASE64_STANDARD.encode(reply))
        }
        .boxed_local()
    }
}
