//! The operator's command line, with a key and a cloud of its own.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    cloud::Cloud,
    command::{Ended, capture, run},
};

/// Somebody with the binary `wayside`, an empty home and a key.
#[derive(Debug)]
pub struct Operator {
    home: TempDir,
    binary: PathBuf,
}

impl Operator {
    /// An operator whose key is made at first use.
    ///
    /// # Errors
    /// When there is no temporary folder, or no key can be made.
    pub fn new(binary: PathBuf) -> Result<Self> {
        let operator = Self { home: tempfile::tempdir()?, binary };
        operator.key()?;
        Ok(operator)
    }

    /// The operator's public key, as `--operator` takes it.
    ///
    /// # Errors
    /// When the command fails.
    pub fn key(&self) -> Result<String> {
        run(self.command().arg("key"))
    }

    /// The file that holds the operator's private key.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.home.path().join("operator.key")
    }

    /// `wayside` with nothing but the key.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.env_clear().env("HOME", self.home.path()).env("WAYSIDE_OPERATOR_KEY", self.key_file());
        command.env("WAYSIDE_STATE", self.home.path().join("no-daemon-here"));
        // New devices are admitted as they are met.
        command.env("WAYSIDE_YES", "true");
        command
    }

    /// `wayside` with the key and a cloud.
    #[must_use]
    pub fn command_at(&self, cloud: &Cloud) -> Command {
        let mut command = self.command();
        command.env("WAYSIDE_CLOUD", cloud.url()).env("WAYSIDE_TOKEN", cloud.token());
        command
    }

    /// `wayside ARGUMENTS` against a cloud, whatever its exit code.
    ///
    /// # Errors
    /// When the binary cannot be started.
    pub fn try_at(&self, cloud: &Cloud, arguments: &[&str]) -> Result<Ended> {
        capture(self.command_at(cloud).args(arguments))
    }

    /// `wayside ARGUMENTS` against a cloud. Returns what it printed.
    ///
    /// # Errors
    /// When its exit code is not 0; with what it said.
    pub fn at(&self, cloud: &Cloud, arguments: &[&str]) -> Result<String> {
        let ended = self.try_at(cloud, arguments)?;
        if ended.code != 0 {
            bail!("wayside {}: {ended}", arguments.join(" "));
        }
        Ok(ended.stdout)
    }

    /// `wayside ARGUMENTS --json` against a cloud.
    ///
    /// # Errors
    /// When it fails or does not print one JSON document.
    pub fn json_at(&self, cloud: &Cloud, arguments: &[&str]) -> Result<Value> {
        let text = self.at(cloud, &[arguments, &["--json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("not one JSON document: {text}"))
    }
}
