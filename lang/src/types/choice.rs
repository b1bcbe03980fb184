//! What is decided when building: `if` and `match` keep one side, with its parameters; `for` writes out a copy for each name.
//!
//! The sides that are not kept are templates like a block that nobody calls: names and axes of them are not looked up, for what
//! stands there may fit only where it is chosen.

use std::collections::BTreeSet;

use super::scope::Scope;
use super::{Checked, Checker, MAX_COPIES, Reported, Val};
use crate::diagnostics::{Diagnostic, codes, near};
use crate::program::{AxisId, Elem, Kind, Span, Type};
use crate::syntax::{Body, Copies, Expr, ExprKind, For, If, Match, Name, tokens};

/// What an argument may be that is known when building.
pub(super) const KINDS: [&str; 3] = ["name", "number", "bool"];

impl Checker<'_> {
    /// `if gated { .. } else { .. }`
    pub fn chosen_side(&mut self, scope: &mut Scope, choice: &If, span: Span) -> Checked<Val> {
        if choice.otherwise.is_none() {
            let message = "an `if` is a value: it has an `else`";
            let help = "where nothing is to be done, that is `else { x }`";
            self.say(Diagnostic::error(codes::CHOICE, span, message).help(help));
        }
        let mut kept = None;
        for (condition, body) in &choice.sides {
            if kept.is_some() {
                self.not_kept(scope, condition.span);
                self.not_kept(scope, body.span);
                continue;
            }
            match self.expr(scope, condition)? {
                Val::Bool(true) => kept = Some(body),
                Val::Bool(false) => self.not_kept(scope, body.span),
                Val::Error => return Err(Reported),
                val => return Err(self.undecided(&val, "a bool", condition.span)),
            }
        }
        match kept {
            Some(body) => {
                if let Some(otherwise) = &choice.otherwise {
                    self.not_kept(scope, otherwise.span);
                }
                self.side(scope, body)
            }
            None => match &choice.otherwise {
                Some(otherwise) => self.side(scope, otherwise),
                None => Err(Reported),
            },
        }
    }

    /// `match cell { "rhn": .. else: .. }`
    pub fn chosen_arm(&mut self, scope: &mut Scope, choice: &Match, span: Span) -> Checked<Val> {
        let val = self.expr(scope, &choice.value)?;
        let kind = match &val {
            Val::Text(_) | Val::Number(_) | Val::Bool(_) => kind_of(&val),
            Val::Error => return Err(Reported),
            _ => return Err(self.undecided(&val, "a name, a number or a bool", choice.value.span)),
        };
        let (mut seen, mut kept, mut failed) = (BTreeSet::new(), None, false);
        let mut otherwise: Option<&Body> = None;
        for (patterns, body) in &choice.arms {
            if let Some(first) = otherwise {
                let message = "nothing comes to an arm behind `else`";
                self.say(Diagnostic::error(codes::CHOICE, body.span, message).also(first.span, "`else` is here"));
                failed = true;
            }
            if patterns.is_empty() {
                otherwise = Some(body);
            }
            for pattern in patterns {
                let found = self.expr(scope, pattern)?;
                let text = self.text(pattern.span).to_string();
                if kind_of(&found) != kind {
                    let message = format!("`{text}` is {}, but what is matched is {kind}", kind_of(&found));
                    self.say(Diagnostic::error(codes::CHOICE, pattern.span, message));
                    failed = true;
                } else if !seen.insert(text.clone()) {
                    let message = format!("a second arm for `{text}`");
                    self.say(Diagnostic::error(codes::CHOICE, pattern.span, message));
                    failed = true;
                } else if same(&found, &val) {
                    kept = Some(body);
                }
            }
        }
        if failed {
            return Err(Reported);
        }
        let Some(kept) = kept.or(otherwise) else {
            let message = match &val {
                Val::Text(name) => format!("no arm for \"{name}\""),
                Val::Number(n) => format!("no arm for {n}"),
                _ => "no arm for this".to_string(),
            };
            let at = if choice.arms.is_empty() { span } else { choice.value.span };
            let mut diagnostic = Diagnostic::error(codes::CHOICE, at, message);
            let names: Vec<&str> = seen.iter().map(|s| s.trim_matches('"')).collect();
            let near = if let Val::Text(name) = &val { near(name, names.iter().copied()) } else { None };
            diagnostic = match near {
                Some(near) => diagnostic.help(format!("did you mean \"{near}\"?")),
                None if seen.is_empty() => {
                    diagnostic.help("an arm is `\"name\": value`; the last may be `else: value`")
                }
                None => {
                    let seen: Vec<&str> = seen.iter().map(String::as_str).collect();
                    diagnostic.help(format!("there are {}; an arm `else:` takes the rest", seen.join(", ")))
                }
            };
            return Err(self.say(diagnostic));
        };
        for (_, body) in &choice.arms {
            if body.span != kept.span {
                self.not_kept(scope, body.span);
            }
        }
        self.side(scope, kept)
    }

    pub fn copies(&mut self, scope: &mut Scope, each: &For) -> Checked<Val> {
        match &each.over {
            Copies::Names(names) => self.named_copies(scope, each, names),
            Copies::Count(count) => self.stacked_copies(scope, each, count),
        }
    }

    /// `for member in 5 { .. }`: parameters gain the axis, as those of experts do, and so does the value.
    fn stacked_copies(&mut self, scope: &mut Scope, each: &For, count: &Expr) -> Checked<Val> {
        let size = self.size_expr(scope, count)?;
        if !size.is_known() {
            let message = "how many copies there are must be known when building";
            return Err(self.say(Diagnostic::error(codes::NOT_A_NUMBER, count.span, message)));
        }
        let axis = self.axis_id(&each.name.text, size, each.name.span);
        if self.gained.contains(&axis) {
            let message = format!("copies along `{0}` in copies along `{0}`", each.name.text);
            return Err(
                self.say(Diagnostic::error(codes::CHOICE, each.name.span, message).help("name one another way"))
            );
        }
        // A result has the axis: its name stands for it from here on, as that of brackets does.
        scope.axes.insert(each.name.text.clone(), axis);
        self.gained.push(axis);
        self.experts.push(axis);
        let val = self.side(scope, &each.body);
        self.experts.pop();
        self.gained.pop();
        self.with_axis(val?, axis, each.body.span)
    }

    /// A value, or each of a record, with an axis.
    fn with_axis(&mut self, val: Val, axis: AxisId, span: Span) -> Checked<Val> {
        if let Val::Record(fields) = val {
            let with = |(name, val)| Ok((name, self.with_axis(val, axis, span)?));
            return fields.into_iter().map(with).collect::<Checked<_>>().map(Val::Record);
        }
        let node = self.as_tensor(&val, Elem::F32, span)?;
        if self.has(node, axis) {
            return Ok(Val::Tensor(node));
        }
        let Type { elem, mut axes } = self.ty(node).clone();
        axes.push(axis);
        self.tensor(Kind::Broadcast(node), elem, axes, span)
    }

    /// `for task in [seg, depth] { .. }`: a record with a value for each name, under which the parameters of its copy stand.
    fn named_copies(&mut self, scope: &mut Scope, each: &For, names: &[Name]) -> Checked<Val> {
        let mut fields: Vec<(String, Val)> = Vec::new();
        let mut failed = false;
        for name in names {
            if fields.iter().any(|(known, _)| *known == name.text) {
                let message = format!("`{}` stands twice: each copy has a name of its own", name.text);
                self.say(Diagnostic::error(codes::TWICE, name.span, message));
                failed = true;
                continue;
            }
            // Copies of one name, in several loops, stand in one place; an instance of that name is in their way.
            let known = scope.copies.remove(&name.text);
            if known.is_none() && !scope.labels.insert(name.text.clone()) && !scope.shared && !scope.is_pure {
                let message = format!("a second instance named `{}` in one place", name.text);
                let help = "parameters of a copy stand under its name: give the other one another label";
                self.say(Diagnostic::error(codes::LABEL, name.span, message).help(help));
                failed = true;
                continue;
            }
            self.copies += 1;
            if self.copies > MAX_COPIES {
                let message = format!("the copies of `for` are more than {MAX_COPIES}");
                return Err(self.say(Diagnostic::error(codes::TOO_LARGE, each.name.span, message)));
            }
            let mut own = known.unwrap_or_default();
            scope.swap_names(&mut own);
            let (place, given) = (scope.place.clone(), scope.given.clone());
            scope.descend(&name.text);
            scope.values.push(Default::default());
            scope.bind(&each.name.text, Val::Text(name.text.clone()), self.loops.len(), each.name.span);
            if let Some(binding) = scope.find(&each.name.text) {
                binding.used = true;
            }
            let val = self.body(scope, &each.body.statements, each.body.value.as_deref(), each.body.span);
            self.leave_side(scope);
            scope.path.pop();
            (scope.place, scope.given) = (place, given);
            scope.swap_names(&mut own);
            scope.copies.insert(name.text.clone(), own);
            failed |= val.is_err();
            fields.push((name.text.clone(), val.unwrap_or(Val::Error)));
        }
        if failed { Err(Reported) } else { Ok(Val::Record(fields)) }
    }

    /// The body that is kept. Its names are its own, its parameters and instances those of the block around.
    fn side(&mut self, scope: &mut Scope, body: &Body) -> Checked<Val> {
        scope.values.push(Default::default());
        let val = self.body(scope, &body.statements, body.value.as_deref(), body.span);
        self.leave_side(scope);
        val
    }

    pub(super) fn leave_side(&mut self, scope: &mut Scope) {
        if let Some(values) = scope.values.pop() {
            self.warn_of_unused_among(&values);
        }
    }

    /// What only a side mentions that is not kept is used all the same, elsewhere.
    pub(super) fn not_kept(&mut self, scope: &mut Scope, span: Span) {
        let words: BTreeSet<String> = tokens(self.text(span)).iter().map(|t| t.text.to_string()).collect();
        for word in words {
            scope.ask(&word);
            if let Some(binding) = scope.find(&word) {
                binding.used = true;
            }
        }
    }

    fn undecided(&mut self, val: &Val, want: &str, span: Span) -> Reported {
        let found = match val {
            Val::Tensor(node) => format!("{}, known only when the model runs", self.show(&self.ty(*node).clone())),
            Val::Size(..) => "a size that is bound when the model runs".to_string(),
            val => kind_of(val).to_string(),
        };
        let message = format!("a choice when building asks for {want}, this is {found}");
        let diagnostic = Diagnostic::error(codes::CHOICE, span, message);
        self.say(match val {
            Val::Tensor(_) => diagnostic.help("to choose element by element, write `where(condition, a, b)`"),
            _ => diagnostic,
        })
    }

    /// The name that a value known when building is: of a field, or in the name of a tensor of the weight file.
    pub fn known_name(&mut self, scope: &mut Scope, name: &Name) -> Checked<String> {
        let val = match scope.find(&name.text) {
            Some(binding) => {
                binding.used = true;
                binding.val.clone()
            }
            None => Val::Error,
        };
        match val {
            Val::Text(text) => Ok(text),
            Val::Error if scope.find(&name.text).is_some() => Err(Reported),
            _ => {
                let message = format!("`{}` is no name known when building", name.text);
                let help = "`for task in [..]` and arguments `task: name` make such names";
                Err(self.say(Diagnostic::error(codes::CHOICE, name.span, message).help(help)))
            }
        }
    }

    /// An argument that is known when building.
    pub fn known_argument(&mut self, scope: &mut Scope, expr: &Expr, name: &Name, kind: &Name) -> Checked<Val> {
        if let (ExprKind::Name(word), "name") = (&expr.kind, kind.text.as_str())
            && scope.find(&word.text).is_none()
            && !self.known().consts.contains_key(&word.text)
        {
            let message = format!("no value `{}` here: a name stands in quotes", word.text);
            let fix = format!("\"{}\"", word.text);
            return Err(self.say(Diagnostic::error(codes::UNKNOWN_NAME, word.span, message).fix(word.span, fix)));
        }
        let val = self.expr(scope, expr)?;
        let fits = matches!(
            (kind.text.as_str(), &val),
            ("name", Val::Text(_)) | ("number", Val::Number(_)) | ("bool", Val::Bool(_))
        );
        if fits {
            return Ok(val);
        }
        if !KINDS.contains(&kind.text.as_str()) {
            return Err(self.wrong_kind(name, kind));
        }
        let found = match &val {
            Val::Error => return Err(Reported),
            Val::Tensor(_) | Val::Size(..) => "known only when the model runs".to_string(),
            val => kind_of(val).to_string(),
        };
        let article = match kind.text.as_str() {
            "name" => "a name",
            "number" => "a number",
            _ => "a bool",
        };
        let message = format!("argument `{}` is {article} known when building, but this is {found}", name.text);
        let mut diagnostic = Diagnostic::error(codes::CHOICE, expr.span, message);
        if kind.text == "name" {
            diagnostic = diagnostic.help("a name stands in quotes: `\"lstm\"`");
        }
        Err(self.say(diagnostic.also(name.span, "declared here")))
    }

    /// `x: f32` and the like.
    pub fn wrong_kind(&mut self, name: &Name, kind: &Name) -> Reported {
        let message = format!("argument `{}`: there is no `{}` known when building", name.text, kind.text);
        let mut diagnostic = Diagnostic::error(codes::UNKNOWN_ELEM, kind.span, message);
        if super::elem_of(&kind.text).is_some() {
            diagnostic = diagnostic.help("a tensor lists its axes").fix(kind.span, format!("{}[]", kind.text));
        } else if let Some(near) = near(&kind.text, KINDS).map(str::to_string).or_else(|| self.type_near(kind)) {
            diagnostic = diagnostic.fix(kind.span, near);
        } else {
            let help = format!("there are {}; a tensor lists its axes: `f32[t]`", KINDS.join(", "));
            diagnostic = diagnostic.help(help);
        }
        self.say(diagnostic)
    }
}

/// In words.
fn kind_of(val: &Val) -> &'static str {
    match val {
        Val::Text(_) => "a name",
        Val::Number(_) => "a number",
        Val::Bool(_) => "a bool",
        Val::Tensor(_) => "a tensor",
        Val::Size(..) => "a size",
        Val::Record(_) => "a record",
        Val::Plan(_) => "a plan",
        Val::Params(_) => "a set of parameters",
        Val::Part { .. } | Val::Block(_) | Val::Function(..) => "a block",
        Val::Error => "wrong",
    }
}

fn same(a: &Val, b: &Val) -> bool {
    match (a, b) {
        (Val::Text(a), Val::Text(b)) => a == b,
        (Val::Number(a), Val::Number(b)) => a == b,
        (Val::Bool(a), Val::Bool(b)) => a == b,
        _ => false,
    }
}
