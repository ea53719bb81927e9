//! Conditions in the Common Expression Language (CEL): compiled once, evaluated for each message or device.
//!
//! A condition sees only what it is given, in bounded work: its length and what it does with a body are limited,
//! one comprehension may not stand within another nor name the body again, no lists are made, and a body above
//! [`crate::limits::CONDITION_BODY_BYTES`] is not looked into.

use std::{
    cell::OnceCell,
    collections::BTreeMap,
    fmt,
    sync::{Arc, LazyLock},
};

use cel::{
    Context, Env, Program, Value,
    common::ast::{EntryExpr, Expr, IdedEntryExpr, IdedExpr},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::limits::{CONDITION_BODY_BYTES, CONDITION_BYTES, CONDITION_MARKS, CONDITION_WORK, DEPTH};

/// What a condition on a message may name.
pub const MESSAGE: Names = Names(&["topic", "module", "properties", "body", "size"]);
/// What a condition on a device may name.
pub const DEVICE: Names = Names(&["name", "labels"]);

/// The names of values that a condition may use.
#[derive(Clone, Copy, Debug)]
pub struct Names(&'static [&'static str]);

/// The functions of the standard environment. What is not here is refused when the condition is written, not
/// found missing with each message.
const FUNCTIONS: [&str; 12] = [
    "bool",
    "bytes",
    "contains",
    "double",
    "dyn",
    "endsWith",
    "int",
    "size",
    "startsWith",
    "string",
    "type",
    "uint",
];

/// Names of types, which `type(x) == int` uses.
const TYPES: [&str; 9] = ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "uint"];

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A condition as it was written, ready to be evaluated. Equal when written alike.
#[derive(Clone)]
pub struct Condition {
    source: String,
    program: Arc<Program>,
    uses_body: bool,
}

/// Why a condition is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCondition {
    /// Longer than [`CONDITION_BYTES`], or with more than [`CONDITION_MARKS`] operators.
    #[error(
        "longer than {CONDITION_BYTES} bytes, or with more than {CONDITION_MARKS} operators, dots and brackets"
    )]
    TooLong,
    /// What it does grows with the body, more than [`CONDITION_WORK`] times.
    #[error("it names `body`, adds, or goes through lists more than {CONDITION_WORK} times")]
    TooMuchWork,
    /// `map` or `filter`.
    #[error("`map` and `filter` are not supported: use `exists` or `all`")]
    MakesList,
    /// Not CEL.
    #[error("{0}")]
    Syntax(String),
    /// A value that there is not.
    #[error("nothing is called `{0}` here; there are {1}")]
    UnknownName(String, String),
    /// A function that there is not.
    #[error("there is no function `{0}`; there are has, all, exists, exists_one, {1}")]
    UnknownFunction(String, String),
    /// `all` or `exists` within another, or over a body that is named within it again.
    #[error("within `all` and `exists` may stand neither another of them nor `body`")]
    Nested,
}

/// Why a condition has no answer for a message or device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The body is larger than [`CONDITION_BODY_BYTES`].
    #[error("the body is larger than {CONDITION_BODY_BYTES} bytes")]
    BodyTooLarge,
    /// The body is neither JSON nor CBOR.
    #[error("the body is neither JSON nor CBOR")]
    Body,
    /// The answer is neither true nor false.
    #[error("the condition gives neither true nor false")]
    NotBoolean,
    /// A field that is not there, values that do not compare, ...
    #[error("{0}")]
    Failed(String),
}

/// What conditions on a message look at. Made once a message: the first condition that is asked has it read, the others find it.
pub struct MessageView<'a> {
    topic: &'a str,
    module: &'a str,
    properties: &'a BTreeMap<String, String>,
    body: &'a [u8],
    plain: OnceCell<Context<'static, 'static>>,
    /// With the body in it.
    whole: OnceCell<Result<Context<'static, 'static>, Unanswered>>,
}

impl<'a> MessageView<'a> {
    /// `topic` as it was published, by `module` without its workload; `body` is JSON or CBOR where a condition names it.
    #[must_use]
    pub const fn new(
        topic: &'a str,
        module: &'a str,
        properties: &'a BTreeMap<String, String>,
        body: &'a [u8],
    ) -> Self {
        Self { topic, module, properties, body, plain: OnceCell::new(), whole: OnceCell::new() }
    }

    fn context(&self) -> Context<'static, 'static> {
        let mut context = Context::with_env(ENVIRONMENT.clone());
        context.add_variable_from_value("topic", self.topic.to_owned());
        context.add_variable_from_value("module", self.module.to_owned());
        context.add_variable_from_value("size", i64::try_from(self.body.len()).unwrap_or(i64::MAX));
        context.add_variable_from_value("properties", by_name(self.properties));
        context
    }

    fn with_body(&self) -> Result<Context<'static, 'static>, Unanswered> {
        let mut context = self.context();
        context.add_variable_from_value("body", body(self.body)?);
        Ok(context)
    }
}

impl Condition {
    /// Compiles `source`, which may use `names`.
    ///
    /// # Errors
    /// When it is not CEL, uses what there is not, or could take too long.
    pub fn new(source: &str, names: Names) -> Result<Self, BadCondition> {
        let condition = Self::compile(source)?;
        Check::new(Some(names)).expression(condition.program.expression())?;
        Ok(condition)
    }

    /// As it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it holds for a message.
    ///
    /// # Errors
    /// When it has no answer.
    pub fn holds_for(&self, message: &MessageView<'_>) -> Result<bool, Unanswered> {
        if !self.uses_body {
            return self.evaluate(message.plain.get_or_init(|| message.context()));
        }
        match message.whole.get_or_init(|| message.with_body()) {
            Ok(context) => self.evaluate(context),
            Err(unanswered) => Err(unanswered.clone()),
        }
    }

    /// Whether it holds for a device.
    ///
    /// # Errors
    /// When it has no answer.
    pub fn holds_for_device(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<bool, Unanswered> {
        let mut context = Context::with_env(ENVIRONMENT.clone());
        context.add_variable_from_value("name", name.to_owned());
        context.add_variable_from_value("labels", by_name(labels));
        self.evaluate(&context)
    }

    fn compile(source: &str) -> Result<Self, BadCondition> {
        // Before anything takes it apart: a chain of operators is as deep as it is long.
        let marks = source.bytes().filter(u8::is_ascii_punctuation).count();
        if source.len() > CONDITION_BYTES || marks > CONDITION_MARKS {
            return Err(BadCondition::TooLong);
        }
        let program = Program::compile(source).map_err(|errors| {
            let first = errors.errors.first().map(|error| error.msg.clone());
            BadCondition::Syntax(first.unwrap_or_else(|| "not an expression".into()))
        })?;
        let uses_body = program.references().has_variable("body");
        Ok(Self { source: source.into(), program: Arc::new(program), uses_body })
    }

    fn evaluate(&self, context: &Context<'_, '_>) -> Result<bool, Unanswered> {
        match self.program.execute(context) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(_) => Err(Unanswered::NotBoolean),
            Err(error) => Err(Unanswered::Failed(error.to_string())),
        }
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.source).finish()
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Condition {}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.source.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Condition {
    /// Of a signed document: which names it may use was checked when that was made, and a name that is not there
    /// has no answer.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let source = String::deserialize(deserializer)?;
        let condition = Self::compile(&source).map_err(de::Error::custom)?;
        Check::new(None).expression(condition.program.expression()).map_err(de::Error::custom)?;
        Ok(condition)
    }
}

/// The body as a value: JSON, or CBOR where it is none.
fn body(bytes: &[u8]) -> Result<Value, Unanswered> {
    if bytes.len() > CONDITION_BODY_BYTES {
        return Err(Unanswered::BodyTooLarge);
    }
    if let Ok(json) = serde_json::from_slice::<serde_json::Value>(bytes) {
        return cel::to_value(json).map_err(|_| Unanswered::Body);
    }
    let mut rest = bytes;
    let cbor: ciborium::Value =
        ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH).map_err(|_| Unanswered::Body)?;
    if !rest.is_empty() {
        return Err(Unanswered::Body);
    }
    cel::to_value(cbor).map_err(|_| Unanswered::Body)
}

fn by_name(pairs: &BTreeMap<String, String>) -> Value {
    // Text by text is among what CEL can hold.
    cel::to_value(pairs).unwrap_or(Value::Null)
}

/// Walks an expression and refuses what would fail with every message or take too long.
struct Check {
    /// What may be named; anything when `None`.
    names: Option<Names>,
    /// Variables of the comprehension around.
    bound: Vec<String>,
    within: bool,
    /// What costs as much as the body is large.
    work: usize,
}

impl Check {
    const fn new(names: Option<Names>) -> Self {
        Self { names, bound: Vec::new(), within: false, work: 0 }
    }

    fn works(&mut self) -> Result<(), BadCondition> {
        self.work += 1;
        if self.work > CONDITION_WORK { Err(BadCondition::TooMuchWork) } else { Ok(()) }
    }

    fn expression(&mut self, expression: &IdedExpr) -> Result<(), BadCondition> {
        match &expression.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(name),
            Expr::Call(call) => {
                self.function(&call.func_name)?;
                if call.func_name == "_+_" {
                    self.works()?;
                }
                call.target.iter().try_for_each(|target| self.expression(target))?;
                call.args.iter().try_for_each(|argument| self.expression(argument))
            }
            Expr::Select(select) => self.expression(&select.operand),
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.expression(element)),
            Expr::Map(map) => self.entries(&map.entries),
            Expr::Struct(structure) => self.entries(&structure.entries),
            Expr::Comprehension(comprehension) => {
                if self.within {
                    return Err(BadCondition::Nested);
                }
                if matches!(comprehension.accu_init.expr, Expr::List(_) | Expr::Map(_)) {
                    return Err(BadCondition::MakesList);
                }
                self.works()?;
                self.within = true;
                self.iterated(&comprehension.iter_range)?;
                self.bound = vec![comprehension.iter_var.clone(), comprehension.accu_var.clone()];
                self.bound.extend(comprehension.iter_var2.clone());
                self.expression(&comprehension.accu_init)?;
                self.expression(&comprehension.loop_cond)?;
                self.expression(&comprehension.loop_step)?;
                self.expression(&comprehension.result)?;
                self.bound.clear();
                self.within = false;
                Ok(())
            }
        }
    }

    fn entries(&mut self, entries: &[IdedEntryExpr]) -> Result<(), BadCondition> {
        for entry in entries {
            match &entry.expr {
                EntryExpr::StructField(field) => self.expression(&field.value)?,
                EntryExpr::MapEntry(entry) => {
                    self.expression(&entry.key)?;
                    self.expression(&entry.value)?;
                }
            }
        }
        Ok(())
    }

    /// What a comprehension goes through: the one place within it where the body may stand.
    fn iterated(&mut self, range: &IdedExpr) -> Result<(), BadCondition> {
        let mut at = range;
        while let Expr::Select(select) = &at.expr {
            at = &select.operand;
        }
        if matches!(&at.expr, Expr::Ident(name) if name == "body") {
            return self.works();
        }
        self.expression(range)
    }

    fn name(&mut self, name: &str) -> Result<(), BadCondition> {
        if name == "body" {
            self.works()?;
            if self.within {
                return Err(BadCondition::Nested);
            }
        }
        let Some(Names(known)) = self.names else { return Ok(()) };
        if known.contains(&name) || TYPES.contains(&name) || self.bound.iter().any(|bound| bound == name) {
            return Ok(());
        }
        Err(BadCondition::UnknownName(name.into(), known.join(", ")))
    }

    #[expect(clippy::unused_self, reason = "reads as the other checks do")]
    fn function(&self, name: &str) -> Result<(), BadCondition> {
        // Operators are functions with names that nobody can write.
        let is_operator = !name.starts_with(|c: char| c.is_ascii_alphabetic());
        if is_operator || FUNCTIONS.contains(&name) {
            return Ok(());
        }
        Err(BadCondition::UnknownFunction(name.into(), FUNCTIONS.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(source: &str, body: &[u8]) -> Result<bool, Unanswered> {
        let properties = BTreeMap::from([("unit".to_owned(), "C".to_owned())]);
        let message = MessageView::new("room/1", "sensor", &properties, body);
        Condition::new(source, MESSAGE).unwrap().holds_for(&message)
    }

    fn refused(source: &str) -> BadCondition {
        Condition::new(source, MESSAGE).unwrap_err()
    }

    #[test]
    fn a_message_is_seen_by_topic_properties_and_body() {
        let json = br#"{"temp": 31, "tags": ["a", "b"]}"#;
        for source in [
            "body.temp > 30",
            "body.temp == 31 && topic.startsWith('room/')",
            "properties.unit == 'C' && module == 'sensor'",
            "'b' in body.tags",
            "body.tags.exists(tag, tag == 'a')",
            "has(body.temp) && !has(body.nothing)",
            "size < 100 && size(body.tags) == 2",
            "type(topic) == string",
        ] {
            assert_eq!(holds(source, json), Ok(true), "{source}");
        }
        assert_eq!(holds("body.temp > 40", json), Ok(false));
        let mut cbor = Vec::new();
        ciborium::into_writer(&serde_json::json!({"temp": 31.5}), &mut cbor).unwrap();
        assert_eq!(holds("body.temp > 31.0", &cbor), Ok(true));
    }

    #[test]
    fn what_has_no_answer_says_why() {
        assert_eq!(holds("body.temp > 30", b"{}"), Err(Unanswered::Failed("No such key: temp".into())));
        assert_eq!(holds("body.temp > 30", b"\xff\xff"), Err(Unanswered::Body));
        assert_eq!(holds("body == 1", &[b' '; CONDITION_BODY_BYTES + 1]), Err(Unanswered::BodyTooLarge));
        assert_eq!(holds("size == 0", &[b'x'; CONDITION_BODY_BYTES + 1]), Ok(false));
        assert_eq!(holds("topic", b""), Err(Unanswered::NotBoolean));
        let deep = [vec![b'['; 5000], vec![b']'; 5000]].concat();
        assert_eq!(holds("body == 1", &deep), Err(Unanswered::Body));
    }

    #[test]
    fn what_could_not_work_is_refused_at_once() {
        assert!(matches!(refused("body."), BadCondition::Syntax(_)));
        assert!(matches!(refused(""), BadCondition::Syntax(_)));
        assert_eq!(refused(&"a".repeat(CONDITION_BYTES + 1)), BadCondition::TooLong);
        assert!(matches!(refused("bod.temp > 1"), BadCondition::UnknownName(name, _) if name == "bod"));
        assert!(matches!(refused("now() > 1"), BadCondition::UnknownFunction(name, _) if name == "now"));
        let nested = "body.a.all(x, body.b.all(y, x == y))";
        assert_eq!(refused(nested), BadCondition::Nested);
        assert!(serde_json::from_value::<Condition>(nested.into()).is_err());
        assert_eq!(refused("body.a.exists(x, x in body.b)"), BadCondition::Nested);
        assert_eq!(refused("size(['a'].map(x, x + x).map(x, x + x)) > 0"), BadCondition::MakesList);
        assert_eq!(refused("body.a.filter(x, x > 1).exists(x, x > 2)"), BadCondition::Nested);
        assert_eq!(refused(&["body.a"; 18].join(" + ")), BadCondition::TooMuchWork);
        for chain in ["+1", ".a", "[0]"] {
            assert_eq!(refused(&format!("1{}", chain.repeat(205))), BadCondition::TooLong, "{chain}");
        }
        assert!(matches!(refused("max(1, 2) > 1"), BadCondition::UnknownFunction(..)));
        assert_eq!(refused(&format!("{}1{}", "(".repeat(300), ")".repeat(300))), BadCondition::TooLong);
        assert!(Condition::new(&format!("{}1{} > 0", "(".repeat(40), ")".repeat(40)), MESSAGE).is_ok());
    }

    #[test]
    fn a_device_is_seen_by_name_and_labels() {
        let labels = BTreeMap::from([("plant".to_owned(), "p7".to_owned())]);
        let condition = Condition::new("labels.plant == 'p7' && name != 'jfk'", DEVICE).unwrap();
        assert_eq!(condition.holds_for_device("ewr", &labels), Ok(true));
        assert_eq!(condition.holds_for_device("jfk", &labels), Ok(false));
        assert!(condition.holds_for_device("ewr", &BTreeMap::new()).is_err());
    }

    #[test]
    fn it_travels_as_it_was_written() {
        let condition = Condition::new("size > 1", MESSAGE).unwrap();
        let bytes = crate::cbor::encode(&condition);
        assert_eq!(ciborium::from_reader::<Condition, _>(bytes.as_slice()).unwrap(), condition);
    }
}
