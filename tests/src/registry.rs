//! A registry of images on loopback, which an engine talks to without TLS; with images that are on no engine.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    build::WEATHER_IMAGE,
    engine::{command, docker, try_docker},
    ensure::program,
    lab::Lab,
    wait::until,
};

/// It ends when dropped, and the images go with it.
#[derive(Debug)]
pub struct Registry {
    process: Child,
    folder: TempDir,
    address: String,
    label: String,
    pushed: AtomicU32,
}

/// An image that the registry has and no engine.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// `ADDRESS/probe@sha256:...`.
    pub reference: String,
    /// `ADDRESS/probe:NUMBER`, which the registry has as well.
    pub tag: String,
    /// The file of the layer that no other image has.
    layer: PathBuf,
}

impl Registry {
    /// Starts one; `docker-registry` is installed where that is possible.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn start(lab: &Lab) -> Result<Self> {
        program("docker-registry", &["docker-registry"])?;
        let folder = tempfile::tempdir()?;
        // Free a moment ago; nobody else takes ports here.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let config = folder.path().join("config.yml");
        let data = folder.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{address}\"}}\n",
            data.display()
        );
        fs::write(&config, text)?;
        let log = File::create(folder.path().join("log"))?;
        let mut serve = Command::new("docker-registry");
        serve.arg("serve").arg(&config).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = serve.spawn().context("docker-registry")?;
        let registry = Self { process, folder, address, label: lab.label(), pushed: AtomicU32::new(0) };
        until("the registry to answer", Duration::from_secs(30), || {
            Ok(std::net::TcpStream::connect(&registry.address).ok().map(drop))
        })?;
        Ok(registry)
    }

    /// The image of the example with a file of its own, in the registry and on no engine.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn push(&self) -> Result<Pushed> {
        self.push_with(0)
    }

    /// As [`Self::push`], with so many bytes in its own layer that do not compress.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn push_with(&self, bytes: usize) -> Result<Pushed> {
        let number = self.pushed.fetch_add(1, Ordering::Relaxed);
        let tag = format!("{}/probe:{number}", self.address);
        let context = tempfile::tempdir()?;
        // Of another content in each test, or the engine would still have it from an earlier one.
        fs::write(context.path().join("marker"), format!("{tag} {}", self.label))?;
        fs::write(context.path().join("noise"), noise(bytes))?;
        let file = format!("FROM {WEATHER_IMAGE}\nCOPY marker noise /\n");
        fs::write(context.path().join("Dockerfile"), file)?;
        let path = context.path().to_string_lossy();
        crate::command::run(&mut command([
            "build",
            "--quiet",
            "--label",
            &self.label,
            "--tag",
            &tag,
            &path,
        ]))?;
        docker(["push", "--quiet", &tag])?;
        let reference = docker(["image", "inspect", "--format", "{{index .RepoDigests 0}}", &tag])?;
        docker(["image", "rm", &tag])?;
        // Engines differ in whether it went with its last tag.
        let _ = try_docker(["image", "rm", &reference])?;
        let layer = self.last_layer(&reference)?;
        Ok(Pushed { reference, tag, layer })
    }

    /// Serves other bytes for the image's own layer from now on; again, the right ones.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn alter(&self, image: &Pushed) -> Result<()> {
        let mut bytes = fs::read(&image.layer)?;
        let last = bytes.last_mut().context("an empty layer")?;
        *last ^= 1;
        Ok(fs::write(&image.layer, bytes)?)
    }

    /// The file of the layer on top: those below it are of the image that others have too.
    fn last_layer(&self, reference: &str) -> Result<PathBuf> {
        let (_, digest) = reference.split_once('@').context("a reference without a digest")?;
        let manifest = fs::read(self.blob(digest)?)?;
        let manifest: Value = serde_json::from_slice(&manifest).context("a manifest that is no JSON")?;
        let layer = manifest["layers"].as_array().and_then(|layers| layers.last());
        let digest = layer.and_then(|layer| layer["digest"].as_str()).context("a manifest without layers")?;
        self.blob(digest)
    }

    /// Where the registry keeps what has this digest.
    fn blob(&self, digest: &str) -> Result<PathBuf> {
        let hex = digest.strip_prefix("sha256:").context("a digest that is not SHA-256")?;
        let prefix = hex.get(..2).context("a digest that is too short")?;
        let blobs = self.folder.path().join("data/docker/registry/v2/blobs/sha256");
        Ok(blobs.join(prefix).join(hex).join("data"))
    }
}

/// For a process that was killed to be gone.
const GONE: std::time::Duration = std::time::Duration::from_secs(10);

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = crate::command::wait(&mut self.process, GONE);
    }
}

/// Xorshift64 (Marsaglia, 2003): nothing that a compressor finds anything in.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[7]
    };
    (0..bytes).map(|_| next()).collect()
}
