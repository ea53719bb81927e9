//! Secrets of the file and of a service.

use super::*;
use crate::secret::SecretMount;

fn file(declared: &str, lines: &str) -> String {
    format!(
        "name: grid\nsecrets: {declared}\nservices:\n  sensor:\n    image: s\n{lines}x-wayside: {{target: all}}\n"
    )
}

fn mounts(declared: &str, lines: &str) -> Vec<SecretMount> {
    let (workload, _) = parse("compose.yaml", &file(declared, lines)).unwrap_or_else(|r| panic!("{r}"));
    workload.modules["sensor"].secrets.clone()
}

fn mount(secret: &str, file: &str, uid: Option<u32>, mode: u32) -> SecretMount {
    SecretMount { secret: secret.into(), file: file.into(), uid, gid: uid, mode }
}

#[test]
fn a_service_gets_secrets_in_short_and_in_long_form() {
    let declared = "{token: {external: true}, key.pem: {file: ./key.pem}}";
    let lines = "    secrets:\n      - token\n      - source: key.pem\n        target: /run/secrets/tls.key\n        uid: \"103\"\n        gid: \"103\"\n        mode: 0440\n";
    let expected = [mount("token", "token", None, 0o444), mount("key.pem", "tls.key", Some(103), 0o440)];
    assert_eq!(mounts(declared, lines), expected);
    let (_, warnings) = parse("compose.yaml", &file(declared, lines)).unwrap();
    assert!(warnings.to_string().contains("`wayside secret set key.pem`"), "{warnings}");
    assert_eq!(
        mounts("{token: {external: true}}", "    secrets: [{source: token, mode: \"0o400\"}]\n")[0].mode,
        0o400
    );
}

#[test]
fn what_could_not_hold_of_a_secret_is_refused_with_the_way_out() {
    let token = "{token: {external: true}}";
    for (declared, lines, says) in [
        ("{token: }", "", "does not say where it comes from"),
        ("{token: {external: false}}", "", "does not say where it comes from"),
        ("{../x: {external: true}}", "", "cannot name a secret"),
        ("{token: {external: true, name: other}}", "", "`name` is not supported"),
        ("{token: {file: x, template_driver: golang}}", "", "`template_driver` is not supported"),
        (token, "secrets: [other]", "the secret `other` is not declared"),
        (token, "secrets: [token, token]", "two secrets are the file `token`"),
        (token, "secrets: [{target: x}]", "has no `source`"),
        (
            token,
            "secrets: [{source: token, target: /etc/token}]",
            "could not be replaced while the module runs",
        ),
        (token, "secrets: [{source: token, mode: 440}]", "an octal number such as `0440`"),
        (token, "secrets: [{source: token, uid: root}]", "a number such as"),
        (token, "secrets: [{source: token, owner: x}]", "unknown key `owner`"),
        (token, "{secrets: [token], tmpfs: /run/secrets}", "where its secrets are"),
    ] {
        let lines = match lines.strip_prefix('{').filter(|_| lines.ends_with('}')) {
            Some(both) => {
                both.trim_end_matches('}').split(", ").map(|line| format!("    {line}\n")).collect()
            }
            None if lines.is_empty() => String::new(),
            None => format!("    {lines}\n"),
        };
        let errors = errors(&file(declared, &lines));
        assert!(errors.len() == 1 && errors[0].contains(says), "{declared} {lines}: {errors:?}");
    }
}
