//! Values that name labels of the device.

use super::*;
use crate::template::Part;

#[test]
fn a_value_with_a_label_is_known_on_a_device_and_not_before() {
    let spec = service("    environment: {RATE: \"5\", TOPIC: \"plant/{{label:plant}}\"}\n");
    assert_eq!(spec.environment.keys().collect::<Vec<_>>(), ["RATE"]);
    assert_eq!(spec.templates["TOPIC"], [Part::Text("plant/".into()), Part::Label("plant".into())]);
    let listed = service("    environment: [\"LINE={{ label:line }}\", \"SHELL=$${label:x}\"]\n");
    assert_eq!(listed.templates["LINE"], [Part::Label("line".into())]);
    assert_eq!(listed.environment["SHELL"], "${label:x}");
}

#[test]
fn a_template_that_is_none_is_refused_with_the_way_out() {
    for (value, says) in [("{{label:plant", "has no `}}`"), ("{{label:}}", "names no label")] {
        let errors = service_errors(&format!("    environment: {{TOPIC: \"{value}\"}}\n"));
        assert!(errors.len() == 1 && errors[0].contains(says), "{value}: {errors:?}");
        assert!(errors[0].ends_with("write `{{label:NAME}}` for the value of a device's label"));
    }
}
