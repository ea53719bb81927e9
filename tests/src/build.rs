//! The project's binaries, and images `FROM scratch` of them.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    command::{cargo, run, run_within, watch},
    engine,
    ensure::bring,
};

/// The whole workspace from nothing takes ten minutes on two cores that have nothing else to do.
const BUILD_LIMIT: Duration = Duration::from_secs(90 * 60);

const IMAGE_LIMIT: Duration = Duration::from_secs(300);

/// The image of a host: both binaries, nothing else.
pub const HOST_IMAGE: &str = "wayside-lab:dev";

/// The image that `examples/weather/compose.yaml` names.
pub const WEATHER_IMAGE: &str = "wayside-weather:demo";

/// A shell and what it calls, for what people write into their own Compose files.
pub const SHELL_IMAGE: &str = "wayside-shell:dev";

/// Images of the laboratory carry it.
const IMAGE_LABEL: &str = "wayside.lab.image";

/// A folder with the static binaries `wayside`, `wayside-cloud` and those of the example.
#[derive(Clone, Debug)]
pub struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// Builds them, with cargo's progress on standard error. In `release` stripped and optimised, else
    /// as the tests are built. The whole workspace, for a choice of packages would choose other
    /// features of the dependencies and so build those again.
    ///
    /// # Errors
    /// When the build fails.
    pub fn build(release: bool) -> Result<Self> {
        let mut build = cargo();
        build.args(["build", "--quiet", "--workspace", "--bins"]);
        if atty() {
            build.args(["--config", "term.quiet=false"]);
        }
        if release {
            build.arg("--release");
        }
        watch(&mut build, BUILD_LIMIT).context("the build failed")?;
        Ok(Self { folder: folder(release)? })
    }

    /// The path of a binary.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes [`HOST_IMAGE`] and [`WEATHER_IMAGE`] when a binary is newer than the image made last.
    ///
    /// # Errors
    /// When `strip` or the engine fails.
    pub fn images(&self) -> Result<()> {
        engine::answers()?;
        let host = "FROM scratch\nCOPY wayside wayside-cloud /\nENV PATH=/\n";
        self.image(HOST_IMAGE, &["wayside", "wayside-cloud"], host)?;
        let weather = fs::read_to_string(example("weather").join("Dockerfile"))?;
        self.image(WEATHER_IMAGE, &["weather-sensor", "weather-detector"], &weather)
    }

    fn image(&self, tag: &str, binaries: &[&str], dockerfile: &str) -> Result<()> {
        let stamp = self.stamp(binaries)?;
        let format = format!("{{{{index .Config.Labels \"{IMAGE_LABEL}\"}}}}");
        let have = engine::try_docker(["image", "inspect", "--format", &format, tag])?;
        if have.code == 0 && have.stdout.trim() == stamp {
            return Ok(());
        }
        let context = tempfile::tempdir()?;
        for name in binaries {
            let (from, to) = (self.path(name), context.path().join(name));
            run(Command::new("strip").arg("-o").arg(&to).arg(&from))
                .context("`strip` comes with the linker that Rust needs: apt-get install binutils")?;
        }
        fs::write(context.path().join("Dockerfile"), dockerfile)?;
        let label = format!("{IMAGE_LABEL}={stamp}");
        let folder = context.path().to_string_lossy();
        let named = || engine::try_docker(["image", "ls", "--quiet", "--no-trunc", tag]);
        let before = named()?.stdout;
        let mut build = engine::command(["build", "--quiet", "--label", &label, "--tag", tag, &folder]);
        run_within(&mut build, IMAGE_LIMIT)?;
        // That which had the tag before goes, if nobody uses it: other ones without a tag may be another laboratory's.
        if !before.is_empty() && before != named()?.stdout {
            let _ = engine::try_docker(["image", "rm", before.trim()])?;
        }
        Ok(())
    }

    /// Changes whenever a binary does.
    fn stamp(&self, binaries: &[&str]) -> Result<String> {
        let mut stamp = String::new();
        for name in binaries {
            let path = self.path(name);
            let file = fs::metadata(&path).with_context(|| format!("no binary {}", path.display()))?;
            let changed = file.modified()?.duration_since(std::time::UNIX_EPOCH)?;
            stamp.push_str(&format!("{}-{} ", file.len(), changed.as_millis()));
        }
        Ok(stamp.trim_end().replace(' ', "-"))
    }
}

/// Makes [`SHELL_IMAGE`] of Debian's static BusyBox.
///
/// # Errors
/// When that cannot be installed, or the engine fails.
pub fn shell_image() -> Result<()> {
    if engine::try_docker(["image", "inspect", SHELL_IMAGE])?.code == 0 {
        return Ok(());
    }
    // The other package of this program needs libraries, and gives way to this one.
    bring("busybox", &["busybox-static"])?;
    let context = tempfile::tempdir()?;
    fs::copy("/bin/busybox", context.path().join("busybox")).context("/bin/busybox")?;
    let programs = ["sh", "sleep", "date"].map(|name| format!("COPY busybox /bin/{name}\n"));
    fs::write(
        context.path().join("Dockerfile"),
        format!("FROM scratch\n{}ENV PATH=/bin\n", programs.concat()),
    )?;
    let label = format!("{IMAGE_LABEL}=shell");
    let folder = context.path().to_string_lossy();
    let mut build = engine::command(["build", "--quiet", "--label", &label, "--tag", SHELL_IMAGE, &folder]);
    run_within(&mut build, IMAGE_LIMIT).map(drop)
}

/// The root of the repository.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// The folder of an example.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    workspace().join("examples").join(name)
}

/// Where cargo puts binaries: beside this program, or one above when this is a test.
fn folder(release: bool) -> Result<PathBuf> {
    let me = env::current_exe()?;
    let mut folder = me.parent().context("this program is in no folder")?;
    if folder.ends_with("deps") {
        folder = folder.parent().context("`deps` is in no folder")?;
    }
    let Some(target) = folder.parent() else { bail!("{} is not cargo's", folder.display()) };
    Ok(target.join(if release { "release" } else { "debug" }))
}

fn atty() -> bool {
    use std::io::IsTerminal;
    std::io::stderr().is_terminal()
}
