//! A plan under construction: buffers, nested steps, and how long each buffer lives.

use std::collections::BTreeMap;

use gatec_lang::Size;
use gatec_runtime::format::{Arg, Buffer, Call, Exits, Place, Plan, SizeExpr, Step};

use super::sizes::{Symbols, times};

/// A buffer of the plan under construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BufferId(pub u32);

/// Buffers and steps of one entry (or of loading).
#[derive(Debug, Default)]
pub struct Steps {
    buffers: Vec<Buffer>,
    places: BTreeMap<(u8, u32), BufferId>,
    /// The innermost list is the one that steps are added to.
    open: Vec<Vec<Step>>,
}

impl Steps {
    pub fn new() -> Self {
        Self { buffers: Vec::new(), places: BTreeMap::new(), open: vec![Vec::new()] }
    }

    /// The buffer of an input, output, parameter, state or kept value; one each.
    pub fn at(&mut self, place: Place, name: &str, bytes: SizeExpr) -> BufferId {
        let key = match place {
            Place::Input(i) => (0, i),
            Place::Output(i) => (1, i),
            Place::Param(i) => (2, i),
            Place::State(i) => (3, i),
            Place::NextState(i) => (4, i),
            Place::Kept(i) => (5, i),
            Place::Arena { .. } => return self.push(place, name, bytes),
        };
        if let Some(&buffer) = self.places.get(&key) {
            return buffer;
        }
        let buffer = self.push(place, name, bytes);
        self.places.insert(key, buffer);
        buffer
    }

    /// A new scratch buffer.
    pub fn scratch(&mut self, name: &str, bytes: SizeExpr) -> BufferId {
        self.push(Place::Arena { from: 0, to: 0 }, name, bytes)
    }

    fn push(&mut self, place: Place, name: &str, bytes: SizeExpr) -> BufferId {
        self.buffers.push(Buffer { name: name.into(), place, bytes });
        BufferId(self.buffers.len() as u32 - 1)
    }

    pub fn call(&mut self, call: Call) {
        if let Some(steps) = self.open.last_mut() {
            steps.push(Step::Call(call));
        }
    }

    /// Steps from here to [`Steps::end_loop`] or [`Steps::end_when`] are a body.
    pub fn begin(&mut self) {
        self.open.push(Vec::new());
    }

    pub fn end_loop(&mut self, count: SizeExpr, reverse: bool, exits: Option<Box<Exits>>) {
        let body = self.open.pop().unwrap_or_default();
        if let Some(steps) = self.open.last_mut() {
            steps.push(Step::Loop { count, reverse, body, exits });
        }
    }

    pub fn end_when(&mut self, flag: Arg, is: bool) {
        let body = self.open.pop().unwrap_or_default();
        if let Some(steps) = self.open.last_mut()
            && !body.is_empty()
        {
            steps.push(Step::When { flag, is, body });
        }
    }

    /// The plan, with the life of each scratch buffer: first to last top-level step that names it.
    pub fn finish(mut self) -> Plan {
        let steps = self.open.pop().unwrap_or_default();
        let mut lives: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
        for (number, step) in steps.iter().enumerate() {
            let number = number as u32;
            each_arg(step, &mut |arg| {
                let life = lives.entry(arg.buffer).or_insert((number, number));
                life.1 = number;
            });
        }
        for (id, buffer) in self.buffers.iter_mut().enumerate() {
            if let (Place::Arena { from, to }, Some(life)) = (&mut buffer.place, lives.get(&(id as u32))) {
                (*from, *to) = *life;
            }
        }
        // What was looked up and never read would be kept in memory for nothing: parameters that a loop hands on, packed meanwhile.
        let wanted = |(id, buffer): (usize, &Buffer)| {
            lives.contains_key(&(id as u32)) || matches!(buffer.place, Place::Output(_) | Place::NextState(_))
        };
        let used: Vec<bool> = self.buffers.iter().enumerate().map(wanted).collect();
        let number = |id: u32| used[..id as usize].iter().filter(|used| **used).count() as u32;
        let mut steps = steps;
        steps.iter_mut().for_each(|step| renumber(step, &number));
        let buffers =
            self.buffers.into_iter().zip(&used).filter(|(_, used)| **used).map(|(buffer, _)| buffer).collect();
        Plan { buffers, steps }
    }
}

fn renumber(step: &mut Step, number: &impl Fn(u32) -> u32) {
    match step {
        Step::Call(call) => call.args.iter_mut().for_each(|arg| arg.buffer = number(arg.buffer)),
        Step::When { flag, body, .. } => {
            flag.buffer = number(flag.buffer);
            body.iter_mut().for_each(|step| renumber(step, number));
        }
        Step::Loop { body, exits, .. } => {
            body.iter_mut().for_each(|step| renumber(step, number));
            exits.iter_mut().for_each(|exits| exits.left.buffer = number(exits.left.buffer));
        }
    }
}

fn each_arg(step: &Step, f: &mut impl FnMut(&Arg)) {
    match step {
        Step::Call(call) => call.args.iter().for_each(f),
        Step::When { flag, body, .. } => {
            f(flag);
            body.iter().for_each(|s| each_arg(s, f));
        }
        Step::Loop { body, exits, .. } => {
            body.iter().for_each(|s| each_arg(s, f));
            exits.iter().for_each(|exits| f(&exits.left));
        }
    }
}

/// Where the elements of a value stand: strides in elements along its axes from a place in a buffer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    pub buffer: BufferId,
    /// Elements from the buffer's start.
    pub offset: Size,
    /// Elements to add in odd iterations of the innermost loop.
    pub odd: Size,
    /// Elements for each iteration of the loops around, outermost first.
    pub loops: Vec<Size>,
}

impl Spot {
    pub fn start_of(buffer: BufferId) -> Self {
        Self { buffer, offset: Size::default(), odd: Size::default(), loops: Vec::new() }
    }

    /// The argument of a call that touches `touched` bytes, for elements of `element_bytes`.
    pub fn arg(&self, element_bytes: u64, touched: SizeExpr, symbols: &Symbols) -> Arg {
        let scaled = |size: &Size| symbols.expr(&times(size, element_bytes as i64));
        Arg {
            buffer: self.buffer.0,
            offset: scaled(&self.offset),
            odd: scaled(&self.odd),
            strides: self.loops.iter().map(scaled).collect(),
            bytes: touched,
        }
    }
}
