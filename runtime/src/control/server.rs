//! The daemon's end of the unix socket. Knows lines; a [`ControlHandler`] knows the answers.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use futures_util::future::BoxFuture;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    sync::{Semaphore, mpsc},
};

use super::{Answer, Ask, MAX_LINE_BYTES, MessageLine, signed::encode_reply};

/// Commands served at once; others wait.
const MAX_CONNECTIONS: usize = 32;

/// Whoever knows how the device is and may tell it what to run.
pub trait ControlHandler: Send + Sync + 'static {
    /// Answers a question other than [`Ask::Messages`], or says what went wrong and what to do.
    fn answer(&self, ask: Ask) -> BoxFuture<'static, Result<Answer, String>>;

    /// What modules publish from now on. The channel is bounded; what finds it full is not shown.
    fn messages(&self) -> mpsc::Receiver<MessageLine>;
}

/// Makes the socket, for the daemon's user alone. One that a dead daemon left is replaced: the state
/// directory's lock is held.
///
/// # Errors
/// When the socket cannot be made.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves the socket until dropped.
pub async fn serve(listener: UnixListener, handler: Arc<dyn ControlHandler>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let handler = handler.clone();
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, handler.as_ref()).await {
                        tracing::debug!(%error, "a control connection ended");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket does not accept; trying again");
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, handler: &dyn ControlHandler) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        if (&mut reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') {
            return send(&mut writer, encode_reply(Err("the question is too long, or cut short".into())))
                .await;
        }
        match serde_json::from_slice(&line) {
            Ok(Ask::Messages) => return stream_messages(&mut reader, &mut writer, handler.messages()).await,
            Ok(ask) => send(&mut writer, encode_reply(handler.answer(ask).await)).await?,
            Err(error) => {
                let reason = format!(
                    "the daemon (version {}) does not know the question: {error}; use a `wayside` of its version",
                    env!("CARGO_PKG_VERSION")
                );
                send(&mut writer, encode_reply(Err(reason))).await?;
            }
        }
    }
}

async fn stream_messages(
    reader: &mut (impl AsyncReadExt + Unpin),
    writer: &mut OwnedWriteHalf,
    mut messages: mpsc::Receiver<MessageLine>,
) -> io::Result<()> {
    loop {
        let mut ignored = [0; 64];
        tokio::select! {
            message = messages.recv() => match message {
                Some(line) => send(writer, serde_json::to_vec(&line)?).await?,
                None => return Ok(()),
            },
            // The asker hangs up when it has seen enough.
            read = reader.read(&mut ignored) => if read? == 0 { return Ok(()) },
        }
    }
}

async fn send(writer: &mut OwnedWriteHalf, mut line: Vec<u8>) -> io::Result<()> {
    line.push(b'\n');
    writer.write_all(&line).await
}

#[cfg(test)]
mod tests {
    use wayside_config::identity::DeviceId;

    use super::*;
    use crate::control::{Client, ClientError};

    struct Fake;

    impl ControlHandler for Fake {
        fn answer(&self, ask: Ask) -> BoxFuture<'static, Result<Answer, String>> {
            Box::pin(async move {
                match ask {
                    Ask::Logs { module, .. } => Ok(Answer::Logs { text: module }),
                    Ask::Status
                    | Ask::Devices
                    | Ask::Lobby
                    | Ask::Rules
                    | Ask::Admit { .. }
                    | Ask::Versions
                    | Ask::Apply { .. }
                    | Ask::Keep { .. }
                    | Ask::Call { .. }
                    | Ask::PreviousLogs { .. }
                    | Ask::Twin { .. }
                    | Ask::SetTwin { .. }
                    | Ask::Secrets
                    | Ask::SetSecret { .. }
                    | Ask::Audit { .. }
                    | Ask::Lock { .. }
                    | Ask::Unlock { .. }
                    | Ask::Messages => Err("not now".into()),
                }
            })
        }

        fn messages(&self) -> mpsc::Receiver<MessageLine> {
            let (sender, receiver) = mpsc::channel(4);
            for seq in 1..=3 {
                sender.try_send(line(seq)).unwrap();
            }
            receiver
        }
    }

    fn line(seq: u64) -> MessageLine {
        let message = wayside_actors::message::Message {
            origin: DeviceId::from_bytes([1; 32]),
            source: "sensor".into(),
            topic: "t".into(),
            properties: Default::default(),
            payload: if seq == 2 { vec![0xff].into() } else { "x".into() },
            accepted_ms: 0,
        };
        MessageLine::new(&message, "ewr", "w/r", seq)
    }

    #[tokio::test]
    async fn the_socket_is_its_users_and_questions_are_answered_one_after_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        fs::write(&path, "left over").unwrap();
        let listener = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        tokio::spawn(serve(listener, Arc::new(Fake)));
        tokio::task::spawn_blocking(move || {
            let mut client = Client::connect(&path).unwrap();
            let logs = Ask::Logs { module: "w/m".into(), tail: 1, since_ms: 0 };
            assert_eq!(client.ask(&logs).unwrap(), Answer::Logs { text: "w/m".into() });
            assert!(
                matches!(client.ask(&Ask::Status), Err(ClientError::Refused(reason)) if reason == "not now")
            );
            let mut seen = Vec::new();
            client
                .messages(|message| {
                    seen.push(message);
                    Ok(())
                })
                .unwrap();
            assert_eq!(seen, [line(1), line(2), line(3)]);
            assert_eq!(seen[1].payload_base64.as_deref(), Some("/w=="));
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn what_is_not_a_question_is_answered_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        tokio::spawn(serve(bind(&path).unwrap(), Arc::new(Fake)));
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(b"nonsense\n{\"ask\":\"dance\"}\n{").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).await.unwrap();
        assert_eq!(answers.lines().count(), 3);
        assert!(answers.lines().all(|line| line.starts_with("{\"error\":")), "{answers}");
    }
}
