//! Typed program to Graph IR. One construct of the language is one file: what it means in ops stands there and nowhere else.
//!
//! A program has passed every check, so that lowering does not fail; where it does, front end and IR disagree, and the error
//! names the place in the source.

mod frame;
mod leaf;
mod looped;
mod norm;
mod pointwise;
mod reduce;
mod route;
#[cfg(test)]
mod tests;
mod view;

use gatec_lang::program::{self as lang, FileAxis};
use gatec_lang::{Program, program};

use crate::graph::{
    Axis, AxisSet, Boundary, Elem, Entry, Init, Module, NamePiece, Param, Source, Span, State, Type, TypeError,
};

/// A checked program that the Graph IR does not take: a bug in gatec.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry `{entry}`: {message}; this is a bug in gatec")]
pub struct LowerError {
    pub entry: String,
    pub span: Option<Span>,
    pub message: String,
}

/// Why one construct could not be lowered.
#[derive(Debug)]
struct Problem {
    span: Option<Span>,
    message: String,
}

impl Problem {
    fn new(message: impl Into<String>) -> Self {
        Self { span: None, message: message.into() }
    }
}

impl From<TypeError> for Problem {
    fn from(e: TypeError) -> Self {
        Self::new(e.to_string())
    }
}

/// A program as Graph IR.
pub fn lower(program: &Program) -> Result<Module, LowerError> {
    let names = Names(program);
    let mut module = Module { name: program.name.clone(), ..Module::default() };
    module.symbols = program.symbols.iter().map(|s| (s.name.to_string(), s.bound)).collect();
    module.files = program.files.clone();
    for axis in &program.axes {
        let whole = |message| LowerError { entry: program.name.clone(), span: Some(axis.span), message };
        if !module.sizes.declare(Axis::new(&axis.name), axis.size.clone()) {
            return Err(whole(format!("axis {} has two sizes", axis.name)));
        }
    }
    module.params = program.params.iter().map(|p| param(names, p)).collect();
    let init = |init: lang::Init| match init {
        lang::Init::Each(value) => Init::Each(value),
        lang::Init::Param(i) => Init::Param(i),
    };
    let state = |s: &lang::State| State { tensor: names.boundary(&s.tensor), init: init(s.init) };
    module.states = program.states.iter().map(state).collect();
    for entry in &program.entries {
        let graph = frame::entry(names, &mut module.sizes, entry).map_err(|problem| LowerError {
            entry: entry.name.clone(),
            span: problem.span,
            message: problem.message,
        })?;
        module.entries.push(Entry {
            name: entry.name.clone(),
            at_most: Vec::new(),
            assumed: None,
            inputs: entry.inputs.iter().map(|t| names.boundary(t)).collect(),
            defaults: entry.inputs.iter().enumerate().filter_map(|(i, t)| Some((i, t.default?))).collect(),
            outputs: entry.outputs.iter().map(|t| names.boundary(t)).collect(),
            next_states: entry.next_states.iter().map(|(state, _)| *state).collect(),
            graph,
        });
    }
    Ok(module)
}

fn param(names: Names, p: &lang::Param) -> Param {
    let piece = |piece: &lang::NamePiece| match piece {
        lang::NamePiece::Text(text) => NamePiece::Text(text.clone()),
        lang::NamePiece::Index { axis, first } => NamePiece::Index { axis: names.axis(*axis), first: *first },
    };
    let axis = |axis: &FileAxis| match axis {
        FileAxis::Axis(axis) => vec![names.axis(*axis)],
        FileAxis::Merged(axes) => axes.iter().map(|a| names.axis(*a)).collect(),
        FileAxis::Unit => Vec::new(),
    };
    let source =
        Source { name: p.source.name.iter().map(piece).collect(), order: p.source.order.iter().map(axis).collect() };
    Param { tensor: names.boundary(&p.tensor), source, default: p.buffer.and_then(|buffer| buffer.default) }
}

/// The program's axes and types as those of the Graph IR.
#[derive(Clone, Copy)]
struct Names<'a>(&'a Program);

impl Names<'_> {
    fn axis(self, id: program::AxisId) -> Axis {
        Axis::new(&self.0.axis(id).name)
    }
    fn set(self, ids: &[program::AxisId]) -> AxisSet {
        ids.iter().map(|id| self.axis(*id)).collect()
    }
    fn list(self, ids: &[program::AxisId]) -> Vec<Axis> {
        ids.iter().map(|id| self.axis(*id)).collect()
    }
    fn ty(self, ty: &program::Type) -> Type {
        Type::new(elem(ty.elem), self.set(&ty.axes))
    }
    fn boundary(self, t: &program::Tensor) -> Boundary {
        Boundary { name: t.name.clone(), elem: elem(t.elem), order: self.list(&t.order) }
    }
}

fn elem(elem: program::Elem) -> Elem {
    use gatec_lang::program::Elem as L;
    match elem {
        L::F32 => Elem::F32,
        L::F16 => Elem::F16,
        L::Bf16 => Elem::Bf16,
        L::F64 => Elem::F64,
        L::I32 => Elem::I32,
        L::I64 => Elem::I64,
        L::I8 => Elem::I8,
        L::U8 => Elem::U8,
        L::Bool => Elem::Bool,
    }
}
