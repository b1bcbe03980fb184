//! Statements: parameters and buffers, parts, states, `let`, `next`.

use super::scope::Scope;
use super::{Checked, Checker, Reported, Template, Val};
use crate::diagnostics::{Diagnostic, codes, near};
use crate::program::{
    AxisId, Buffer, Elem, FileAxis, Init, Kind, NamePiece, NodeId, Param, Source, Span, State, Tensor, Type,
};
use crate::syntax::{self, Expr, ExprKind, Name, Statement, Ty};

/// A statement that declares parameters or buffers.
#[derive(Clone, Copy)]
pub(super) struct Declaration<'a> {
    /// Those that are declared together.
    pub names: &'a [Name],
    pub ty: &'a Ty,
    pub source: Option<&'a syntax::Source>,
    pub buffer: Option<&'a syntax::Buffer>,
}

fn kind_of(is_buffer: bool) -> &'static str {
    if is_buffer { "buffer" } else { "parameter" }
}

/// What a state becomes.
#[derive(Clone, Copy)]
pub(crate) struct NextState {
    pub state: usize,
    pub node: NodeId,
    /// How many loops are around: the value is that of one iteration of each.
    pub depth: usize,
}

impl Checker<'_> {
    pub fn statement(&mut self, scope: &mut Scope, statement: &Statement) -> Checked<()> {
        let owned = match statement {
            Statement::Param { names, buffer, .. } => names.first().map(|name| (kind_of(buffer.is_some()), name)),
            Statement::Part { names, .. } => names.first().map(|name| ("part", name)),
            Statement::State { names, .. } => names.first().map(|name| ("state", name)),
            Statement::Let { .. } | Statement::NextState { .. } | Statement::Exit(_) => None,
        };
        if let (Some((what, name)), true) = (owned, scope.is_pure) {
            let message = format!("a `fn` has no {what}s, so no `{}`", name.text);
            self.say(Diagnostic::error(codes::PARAM, name.span, message).help("write `block` instead of `fn`"));
            self.bind(scope, name, Val::Error, true);
            return Err(Reported);
        }
        match statement {
            Statement::Param { names, ty, source, buffer } => {
                let mut failed = false;
                for name in names {
                    if let Some(first) = scope.params.insert(name.text.clone(), name.span) {
                        let what = kind_of(buffer.is_some());
                        let message = format!("{what} `{}` is declared twice in one place", name.text);
                        let diagnostic = Diagnostic::error(codes::TWICE, name.span, message).label("again here");
                        self.say(
                            diagnostic
                                .also(first, "first here")
                                .help("each parameter has a name of its own in its block"),
                        );
                        failed = true;
                        continue;
                    }
                    let declared = Declaration { names, ty, source: source.as_ref(), buffer: buffer.as_ref() };
                    let val = self.param(scope, name, declared);
                    failed |= val.is_err();
                    self.bind(scope, name, val.unwrap_or(Val::Error), false);
                }
                if failed { Err(Reported) } else { Ok(()) }
            }
            Statement::Part { names, block, sizes, place } => {
                let place = match place {
                    Some(place) if names.len() > 1 => {
                        let message = "several parts do not stand in one place: they would be one";
                        let help = "declare each with a `from` of its own";
                        names.iter().for_each(|name| self.bind(scope, name, Val::Error, true));
                        return Err(self.say(Diagnostic::error(codes::PARAM, place.span, message).help(help)));
                    }
                    Some(place) => {
                        let gained = self.gained.clone();
                        Some(self.file_name(scope, (&place.name, place.span), &gained)?)
                    }
                    None => None,
                };
                let given = self.given_sizes(scope, sizes)?;
                // Whoever calls the part, it may ask for each axis of the block around.
                let around = scope.bound.clone();
                around.keys().for_each(|name| scope.ask(name));
                let template = match self.block_named(scope, block) {
                    Some(Val::Block(template)) => template,
                    // What came in as an instance stays that one, and a function has none.
                    Some(val) => {
                        if let Some((size, _)) = given.first() {
                            names.iter().for_each(|name| self.bind(scope, name, Val::Error, true));
                            let message =
                                format!("`{}` came in as an instance or function: it has its axes", block.text);
                            return Err(self.say(Diagnostic::error(codes::ARGUMENTS, size.span, message)));
                        }
                        names.iter().for_each(|name| self.bind(scope, name, val.clone(), false));
                        return Ok(());
                    }
                    None => {
                        Template { name: block.text.clone(), file: self.here, sizes: Vec::new(), first: Vec::new() }
                    }
                };
                for name in names {
                    let mut path = scope.path.clone();
                    path.push(name.text.clone());
                    let within = |place: &Vec<NamePiece>| {
                        place.iter().cloned().chain([NamePiece::Text(format!(".{}", name.text))]).collect()
                    };
                    let part = Val::Part {
                        block: Template {
                            sizes: template.sizes.iter().chain(&given).cloned().collect(),
                            ..template.clone()
                        },
                        path,
                        given: scope.given.within(&name.text),
                        place: place.clone().or_else(|| scope.place.as_ref().map(within)),
                        around: around.clone(),
                        gained: self.gained.clone(),
                    };
                    self.bind(scope, name, part, false);
                }
                Ok(())
            }
            Statement::State { names, ty, init } => {
                let mut failed = false;
                for name in names {
                    let val = self.state(scope, name, ty, init);
                    failed |= val.is_err();
                    self.bind(scope, name, val.unwrap_or(Val::Error), true);
                }
                if failed { Err(Reported) } else { Ok(()) }
            }
            Statement::Let { names, is_record, value } => self.bind_let(scope, names, *is_record, value),
            Statement::NextState { name, value } => self.next_state(scope, name, value),
            Statement::Exit(exit) => Err(self.say(super::exit::outside(super::exit::place(exit)))),
        }
    }

    /// Binds a name. Redefinition by a later `let` is ordinary; an unused first one is not.
    fn bind(&mut self, scope: &mut Scope, name: &Name, val: Val, used: bool) {
        let depth = self.loops.len();
        if let Some(old) = scope.bind(&name.text, val, depth, name.span)
            && !old.used
            && !name.text.starts_with('_')
            && !matches!(old.val, Val::Error)
        {
            let message = format!("`{}` is never used: another one takes its name", name.text);
            self.say(Diagnostic::warning(codes::UNUSED, old.span, message));
        }
        if used && let Some(binding) = scope.find(&name.text) {
            binding.used = true;
        }
    }

    fn bind_let(&mut self, scope: &mut Scope, names: &[Name], is_record: bool, value: &Expr) -> Checked<()> {
        let val = self.expr(scope, value);
        if !is_record {
            let failed = val.is_err();
            self.bind(scope, &names[0], val.unwrap_or(Val::Error), false);
            return if failed { Err(Reported) } else { Ok(()) };
        }
        let fields = match val {
            Ok(Val::Record(fields)) if fields.len() == names.len() => fields.into_iter().map(|(_, v)| v).collect(),
            Ok(Val::Record(fields)) => {
                let message = format!("{} names for a record of {}", names.len(), fields.len());
                self.say(Diagnostic::error(codes::TYPE, value.span, message));
                Vec::new()
            }
            Ok(Val::Error) | Err(Reported) => Vec::new(),
            Ok(_) => {
                self.say(Diagnostic::error(codes::TYPE, value.span, "several names need a record"));
                Vec::new()
            }
        };
        for (i, name) in names.iter().enumerate() {
            self.bind(scope, name, fields.get(i).cloned().unwrap_or(Val::Error), false);
        }
        if fields.is_empty() { Err(Reported) } else { Ok(()) }
    }

    pub(super) fn param(&mut self, scope: &mut Scope, name: &Name, declared: Declaration) -> Checked<Val> {
        let Declaration { names, ty, source, buffer } = declared;
        if ty.rest {
            let message = format!("a {} names all its axes", kind_of(buffer.is_some()));
            return Err(self.say(Diagnostic::error(codes::PARAM, ty.span, message)));
        }
        if let Some(given) = scope.given.0.get(&name.text).cloned() {
            return self.given_param(scope, &given, name, ty);
        }
        if let Some(val) = self.quantized(scope, name, declared)? {
            return Ok(val);
        }
        let (elem, order) = self.written(scope, ty)?;
        let gained = self.gained_beside(&order);
        let all: Vec<AxisId> = gained.iter().chain(&order).copied().collect();
        self.known_sizes(&all, ty.span)?;
        let buffer = match buffer {
            Some(buffer) => Some(self.buffer(name, elem, buffer)?),
            None => None,
        };
        if let Some(source) = source
            && let Some(axis) = super::fused::fused_axis(source)
        {
            let held = super::fused::Held { name, names, elem, gained: &gained, order: &order, buffer };
            return self.held_param(scope, held, source, axis);
        }
        let path = self.path_of(scope, name);
        let source = self.source(scope, &name.text, &gained, &order, source)?;
        self.declared_param(path, elem, all, name.span, (source, buffer)).map(Val::Tensor)
    }

    /// What a buffer is where a weight file lacks it.
    fn buffer(&mut self, name: &Name, elem: Elem, buffer: &syntax::Buffer) -> Checked<Buffer> {
        let number = |default| self.default_number(name, elem, default);
        Ok(Buffer { default: buffer.default.as_ref().map(number).transpose()? })
    }

    /// Axes that a parameter gains from the routes and repeats around, beside those that are written.
    pub(super) fn gained_beside(&self, order: &[AxisId]) -> Vec<AxisId> {
        self.gained.iter().copied().filter(|a| !order.contains(a)).collect()
    }

    pub(super) fn path_of(&self, scope: &Scope, name: &Name) -> String {
        scope.path.iter().chain([&name.text]).cloned().collect::<Vec<_>>().join(".")
    }

    pub(super) fn known_sizes(&mut self, axes: &[AxisId], span: Span) -> Checked<()> {
        for axis in axes {
            if !self.size(*axis).is_known() {
                let message = format!("axis `{}` of a parameter has no size when building", self.stem(*axis));
                let help = "weights have fixed sizes: declare the axis with `= size`";
                return Err(self.say(Diagnostic::error(codes::PARAM, span, message).help(help)));
            }
        }
        Ok(())
    }

    /// The parameter of that path, declared unless it is known, as it is read here.
    pub(super) fn declared_param(
        &mut self,
        path: String,
        elem: Elem,
        order: Vec<AxisId>,
        span: Span,
        (source, buffer): (Source, Option<Buffer>),
    ) -> Checked<NodeId> {
        let id = match self.param_ids.get(&path) {
            Some(&id) => {
                let old = &self.program.params[id];
                let same_type = old.tensor.order == order && old.tensor.elem == elem;
                if !same_type || old.source != source || old.buffer != buffer {
                    let (first, second) = (self.file_name_of(&old.source), self.file_name_of(&source));
                    let how = match (same_type, first == second) {
                        (false, _) => "with different types".to_string(),
                        _ if old.buffer.is_some() != buffer.is_some() => "once as a buffer".to_string(),
                        _ if old.buffer != buffer => "with different defaults".to_string(),
                        (true, false) => format!("from different places: `{first}` and `{second}`"),
                        (true, true) => format!("with different orders of `{first}`"),
                    };
                    let message = format!("`{path}` is declared twice, {how}");
                    let mut diagnostic = Diagnostic::error(codes::PARAM, span, message);
                    if self.param_spans[id] != span {
                        diagnostic = diagnostic.label("again here").also(self.param_spans[id], "first here");
                    }
                    return Err(self.say(diagnostic.help("both have one path: give one another name or label")));
                }
                id
            }
            None => {
                self.one_shape(&path, &source, span)?;
                let tensor =
                    Tensor { name: path.clone(), elem, order: order.clone(), default: None, doc: String::new(), span };
                self.program.params.push(Param { tensor, source, buffer });
                self.param_spans.push(span);
                self.used_params.push(false);
                self.param_ids.insert(path, self.program.params.len() - 1);
                self.program.params.len() - 1
            }
        };
        let node = self.push(Kind::Param(id), elem, order, span)?;
        self.of_iteration(node, span)
    }

    fn state(&mut self, scope: &mut Scope, name: &Name, ty: &Ty, init: &Expr) -> Checked<Val> {
        let (elem, order) = self.written(scope, ty)?;
        let val = self.expr(scope, init)?;
        let init = self.as_number(&val, "what a state begins with", init.span)?;
        let order: Vec<AxisId> = self.gained_beside(&order).into_iter().chain(order.iter().copied()).collect();
        let path = self.path_of(scope, name);
        let id = match self.program.states.iter().position(|s| s.tensor.name == path) {
            Some(id) => id,
            None => {
                let tensor = Tensor {
                    name: path,
                    elem,
                    order: order.clone(),
                    default: None,
                    doc: String::new(),
                    span: name.span,
                };
                self.program.states.push(State { tensor, init: Init::Each(init) });
                self.program.states.len() - 1
            }
        };
        let node = self.push(Kind::State(id), elem, order, name.span)?;
        self.of_iteration(node, name.span).map(Val::Tensor)
    }

    /// Of what an instance in a `repeat` has: the layer's own.
    fn of_iteration(&mut self, node: NodeId, span: Span) -> Checked<NodeId> {
        let depth = self.loops.iter().position(|l| l.repeats).unwrap_or(self.loops.len());
        match self.read(&Val::Tensor(node), depth, span)? {
            Val::Tensor(node) => Ok(node),
            _ => Err(Reported),
        }
    }

    fn next_state(&mut self, scope: &mut Scope, name: &Name, value: &Expr) -> Checked<()> {
        let val = self.expr(scope, value)?;
        let id = self.state_of(scope, name)?;
        let State { tensor, init } = &self.program.states[id];
        let what = if matches!(init, Init::Each(_)) { "state" } else { "buffer" };
        if !self.loops.iter().all(|l| l.repeats && tensor.order.contains(&l.axis)) {
            let message = format!("a {what} is set once a call, not in a loop");
            let help = "use a carry; a block that is called in a `repeat` may have one of its own for each repetition";
            return Err(self.say(Diagnostic::error(codes::LOOP, name.span, message).help(help)));
        }
        let is_of_loop = |axis: &AxisId| self.loops.iter().any(|l| l.axis == *axis);
        let mut axes: Vec<AxisId> = tensor.order.iter().copied().filter(|axis| !is_of_loop(axis)).collect();
        axes.sort();
        let ty = Type { elem: tensor.elem, axes };
        let node = self.as_tensor(&val, ty.elem, value.span)?;
        let node = self.fit(node, &ty, &format!("{what} `{}`", name.text), value.span)?;
        if self.next_states.iter().any(|next| next.state == id) {
            let message = format!("{what} `{}` is set twice", name.text);
            return Err(self.say(Diagnostic::error(codes::TWICE, name.span, message)));
        }
        self.next_states.push(NextState { state: id, node, depth: self.loops.len() });
        Ok(())
    }

    /// The state of a name, or of the buffer of a name: each session has its own of what the weight file gives.
    fn state_of(&mut self, scope: &Scope, name: &Name) -> Checked<usize> {
        let path = self.path_of(scope, name);
        if let Some(id) = self.program.states.iter().position(|s| s.tensor.name == path) {
            return Ok(id);
        }
        let diagnostic = match self.param_ids.get(&path).copied() {
            Some(id) if self.program.params[id].buffer.is_some() => {
                let Param { tensor, source, .. } = &self.program.params[id];
                let tensor = Tensor { order: file_order(source), ..tensor.clone() };
                self.program.states.push(State { tensor, init: Init::Param(id) });
                self.mark_used([id].into_iter());
                return Ok(self.program.states.len() - 1);
            }
            Some(_) => {
                let message = format!("`{}` is a parameter: no call changes it", name.text);
                Diagnostic::error(codes::PARAM, name.span, message).help("declare it as a `buffer`, or as a `state`")
            }
            None if scope.params.contains_key(&name.text) => {
                let message = format!("`{}` has no tensor of its own in the weight file", name.text);
                let help = "a call sets buffers that it was not given, and that share their tensor with no other";
                Diagnostic::error(codes::PARAM, name.span, message).help(help)
            }
            None => Diagnostic::error(codes::UNKNOWN_NAME, name.span, format!("no state `{}`", name.text)),
        };
        Err(self.say(diagnostic))
    }

    /// What entries set is read from the session, by all of them.
    pub fn read_states(&mut self) {
        let of_param = |state: &State| if let Init::Param(id) = state.init { Some(id) } else { None };
        let states: Vec<Option<usize>> = self.program.states.iter().map(of_param).collect();
        for node in self.program.entries.iter_mut().flat_map(|entry| &mut entry.nodes) {
            if let Kind::Param(id) = node.kind
                && let Some(state) = states.iter().position(|of| *of == Some(id))
            {
                node.kind = Kind::State(state);
            }
        }
    }

    /// Marks parameters that an entry reads; the rest are warned of at the end.
    pub fn mark_used(&mut self, used: impl Iterator<Item = usize>) {
        for id in used {
            if let Some(mark) = self.used_params.get_mut(id) {
                *mark = true;
            }
        }
    }

    pub fn warn_of_unused_params(&mut self) {
        for (id, used) in self.used_params.clone().into_iter().enumerate() {
            if !used && !self.out.has_errors() {
                let param = &self.program.params[id];
                let message = format!("{} `{}` is never used", kind_of(param.buffer.is_some()), param.tensor.name);
                let span = self.param_spans[id];
                // A quantised one is two at one place.
                if !self.out.list.iter().any(|d| d.code == codes::UNUSED && d.span == span) {
                    self.say(Diagnostic::warning(codes::UNUSED, span, message));
                }
            }
        }
    }

    /// The type of an argument or result, checked against what is declared.
    pub fn wrong_elem(&mut self, what: &str, want: Elem, found: Elem, span: Span) -> Reported {
        let (want, found) = (want.name(), found.name());
        let message = format!("{what} is {want}, but this is {found}");
        self.say(Diagnostic::error(codes::ELEMS, span, message).help(format!("cast it: `{want}(..)`")))
    }

    /// What stands after a call's semicolon, as axes of the instance.
    pub fn given_sizes(&mut self, scope: &mut Scope, sizes: &[(Name, Expr)]) -> Checked<Vec<(Name, AxisId)>> {
        let mut given: Vec<(Name, AxisId)> = Vec::new();
        for (name, expr) in sizes {
            if let Some((first, _)) = given.iter().find(|(n, _)| n.text == name.text) {
                return Err(self.twice(name, first.span));
            }
            given.push((name.clone(), self.given_axis(scope, name, expr)?));
        }
        Ok(given)
    }

    /// `h = 64` is an axis of that name and size, `h = hidden` the axis `hidden` of the place where it is written.
    pub fn given_axis(&mut self, scope: &mut Scope, name: &Name, expr: &Expr) -> Checked<AxisId> {
        if let ExprKind::Name(axis) = &expr.kind
            && (scope.axes.contains_key(&axis.text) || axis.text.ends_with('\'') && scope.find(&axis.text).is_none())
        {
            return self.named_axis(scope, axis);
        }
        if let ExprKind::Name(unknown) = &expr.kind
            && scope.find(&unknown.text).is_none()
            && !self.known().consts.contains_key(&unknown.text)
        {
            let message = format!("no axis and no number `{}` here", unknown.text);
            let diagnostic = Diagnostic::error(codes::UNKNOWN_AXIS, unknown.span, message);
            let axes: Vec<&str> = scope.axes.keys().map(String::as_str).collect();
            return Err(self.say(match near(&unknown.text, axes) {
                Some(near) => diagnostic.fix(unknown.span, near),
                None => diagnostic,
            }));
        }
        let size = self.size_expr(scope, expr)?;
        Ok(self.axis_id(&name.text, size, name.span))
    }
}

/// A parameter's axes as the weight file has them: its tensors, one after the other, then the order in each.
fn file_order(source: &Source) -> Vec<AxisId> {
    let indexed = source.name.iter().filter_map(|piece| match piece {
        NamePiece::Index { axis, .. } => Some(*axis),
        NamePiece::Text(_) => None,
    });
    let within = source.order.iter().flat_map(|axis| match axis {
        FileAxis::Axis(axis) => std::slice::from_ref(axis),
        FileAxis::Merged(axes) => axes,
        FileAxis::Unit => &[],
    });
    let mut order: Vec<AxisId> = Vec::new();
    for axis in indexed.chain(within.copied()) {
        if !order.contains(&axis) {
            order.push(axis);
        }
    }
    order
}
