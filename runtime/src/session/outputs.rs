//! Results of runs.

use super::bound::Port;
use super::{Element, RunError, Session, find, view};
use crate::format::{Elem, Tensor};

impl Session {
    /// A result of the last run, in the session's memory.
    ///
    /// # Errors
    /// There is no such output, its elements are no `T`, or no run has written it there.
    pub fn output<T: Element>(&self, name: &str) -> Result<&[T], RunError> {
        let (bytes, elem) = self.output_bytes(name)?;
        let wrong = || RunError::Elem { kind: "output", name: name.into(), want: elem, found: T::NAME };
        view::elements(bytes, elem).ok_or_else(wrong)
    }

    /// The shape of a result of the last run, outermost axis first.
    ///
    /// # Errors
    /// There is no such output, or no run has told its size.
    pub fn output_shape(&self, name: &str) -> Result<&[usize], RunError> {
        Ok(&self.output_port(name)?.1.shape)
    }

    fn output_bytes(&self, name: &str) -> Result<(&[u8], Elem), RunError> {
        let (tensor, port) = self.output_port(name)?;
        if !port.filled {
            return Err(RunError::NoResult { name: name.into() });
        }
        Ok((port.own.bytes(port.bytes as usize), tensor.elem))
    }

    fn output_port(&self, name: &str) -> Result<(&Tensor, &Port), RunError> {
        let outputs = &self.entry().outputs;
        let number = find("output", name, outputs.iter().map(|t| t.name.as_str()))?;
        let bound = self.entries[self.entry].as_ref().ok_or_else(|| RunError::NoResult { name: name.into() })?;
        Ok((&outputs[number], &bound.outputs[number]))
    }
}

/// The results of a run.
#[derive(Debug, Clone, Copy)]
pub struct Outputs<'a> {
    pub(super) session: &'a Session,
}

impl<'a> Outputs<'a> {
    /// The elements of a result, innermost axis last.
    ///
    /// # Errors
    /// There is no such output, or its elements are no `T`.
    pub fn slice<T: Element>(&self, name: &str) -> Result<&'a [T], RunError> {
        self.session.output(name)
    }

    /// The shape of a result, outermost axis first.
    ///
    /// # Errors
    /// There is no such output.
    pub fn shape(&self, name: &str) -> Result<&'a [usize], RunError> {
        self.session.output_shape(name)
    }

    /// All results in the model's order: name, element type, shape, bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Elem, &'a [usize], &'a [u8])> {
        let session = self.session;
        session.entry().outputs.iter().filter_map(move |tensor| {
            let (_, port) = session.output_port(&tensor.name).ok()?;
            Some((tensor.name.as_str(), tensor.elem, port.shape.as_slice(), port.own.bytes(port.bytes as usize)))
        })
    }
}
