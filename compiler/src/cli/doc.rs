//! `gatec doc`: the interface of a model as a page: what entries take and give, what a session keeps, which tensors of a weight file it
//! wants, and its blocks. Of a file without a model, or one of the standard library, the blocks alone.

mod blocks;

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use gatec_lang::program::{AxisId, FileAxis, Init, NamePiece, Param, Tensor};
use gatec_lang::{Program, syntax};

use super::html::escaped;
use super::{Failure, SourceArgs, Talk};
use crate::{BuildError, artifact};

#[derive(Args)]
pub struct Doc {
    /// The model, a file of blocks, or a file of the standard library: std/norms.gate
    model: PathBuf,
    #[command(flatten)]
    source: SourceArgs,
    /// As one self-contained page of HTML instead of Markdown
    #[arg(long)]
    html: bool,
    /// Where the page goes [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Doc {
    pub fn run(self, talk: &Talk) -> Result<ExitCode, Failure> {
        let name = self.model.display().to_string();
        let text = match gatec_lang::library(&name) {
            Some(text) => text.to_string(),
            None => gatec_lang::read(&self.model).map_err(|e| Failure::file(&self.model, e))?,
        };
        // What does not parse is told with the model.
        let tree = syntax::parse(0, &text).ok();
        let (title, page) = match tree.filter(|tree| !blocks::has_model(tree)) {
            Some(tree) => (name.clone(), library_page(&name, &text, &tree)),
            None => {
                let program = gatec_lang::load(&self.model, &self.source.sizes()?).map_err(BuildError::Source)?;
                (program.name.clone(), page(&program, &text))
            }
        };
        let text = if self.html { html(&title, &page) } else { markdown(&page) };
        match &self.output {
            Some(path) => artifact::replace(path, text.as_bytes()).map_err(|e| Failure::file(path, e))?,
            None => talk.data(text)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A part of a page. Cells of a table are code but for the last column, which is text.
enum Part {
    Heading(u8, String),
    Text(String),
    /// Of the language.
    Code(String),
    Table(Vec<&'static str>, Vec<Vec<String>>),
}

/// What a file of blocks has.
fn library_page(name: &str, text: &str, tree: &syntax::File) -> Vec<Part> {
    let mut page = vec![Part::Heading(1, name.to_string())];
    page.extend(paragraphs(&tree.doc));
    page.extend(blocks::parts(2, text, tree));
    page
}

/// The interface of a model; `text` is its file's.
fn page(program: &Program, text: &str) -> Vec<Part> {
    let mut page = vec![Part::Heading(1, program.name.clone())];
    page.extend(paragraphs(&program.doc));
    let tensors = |list: &[Tensor]| list.iter().map(|t| vec![t.name.clone(), ty(program, t), line(&t.doc)]).collect();
    for entry in &program.entries {
        page.push(Part::Heading(2, format!("Entry {}", entry.name)));
        page.push(Part::Table(vec!["input", "type", ""], tensors(&entry.inputs)));
        page.push(Part::Table(vec!["output", "type", ""], tensors(&entry.outputs)));
    }
    if !program.symbols.is_empty() {
        page.push(Part::Heading(2, "Sizes bound when it runs".into()));
        let most = |bound: Option<i64>| bound.map_or(String::new(), |n| format!("at most {n}"));
        let rows = program.symbols.iter().map(|s| vec![s.name.to_string(), most(s.bound)]).collect();
        page.push(Part::Table(vec!["axis", ""], rows));
    }
    if !program.states.is_empty() {
        page.push(Part::Heading(2, "States of a session".into()));
        let row = |s: &gatec_lang::program::State| {
            vec![s.tensor.name.clone(), ty(program, &s.tensor), at_first(program, s.init), line(&s.tensor.doc)]
        };
        page.push(Part::Table(vec!["state", "type", "at first", ""], program.states.iter().map(row).collect()));
    }
    let row = |p: &Param| {
        let order: Vec<String> = p.source.order.iter().map(|a| file_axis(program, a)).collect();
        let stored = format!("{}[{}]", file_name(program, p), order.join(", "));
        let default = p.buffer.and_then(|buffer| buffer.default);
        let ty = ty(program, &Tensor { default, ..p.tensor.clone() });
        vec![p.tensor.name.clone(), ty, stored, line(&p.tensor.doc)]
    };
    for (title, what, is_buffer) in [("Parameters", "parameter", false), ("Buffers", "buffer", true)] {
        let rows: Vec<_> = program.params.iter().filter(|p| p.buffer.is_some() == is_buffer).map(row).collect();
        if !rows.is_empty() {
            page.push(Part::Heading(2, title.into()));
            page.push(Part::Table(vec![what, "type", "in a weight file", ""], rows));
        }
    }
    let blocks = syntax::parse(0, text).map(|tree| blocks::parts(3, text, &tree)).unwrap_or_default();
    if !blocks.is_empty() {
        page.push(Part::Heading(2, "Definitions".into()));
        page.extend(blocks);
    }
    page
}

fn paragraphs(doc: &str) -> impl Iterator<Item = Part> {
    doc.split("\n\n").map(line).filter(|text| !text.is_empty()).map(Part::Text)
}

/// A text in one line.
fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `f32[t, d = 64]`, outermost axis first.
fn ty(program: &Program, tensor: &Tensor) -> String {
    let axes: Vec<String> = tensor.order.iter().map(|axis| axis_and_size(program, *axis)).collect();
    let default = tensor.default.map_or(String::new(), |default| format!(" = {default}"));
    format!("{}[{}]{default}", tensor.elem.name(), axes.join(", "))
}

fn axis_and_size(program: &Program, axis: AxisId) -> String {
    let axis = program.axis(axis);
    let size = axis.size.to_string();
    if size == *axis.name { size } else { format!("{} = {size}", axis.name) }
}

fn file_axis(program: &Program, axis: &FileAxis) -> String {
    match axis {
        FileAxis::Axis(axis) => program.axis(*axis).name.to_string(),
        FileAxis::Merged(axes) => {
            axes.iter().map(|a| program.axis(*a).name.to_string()).collect::<Vec<_>>().join(" * ")
        }
        FileAxis::Unit => "_".into(),
    }
}

fn file_name(program: &Program, param: &Param) -> String {
    let piece = |piece: &NamePiece| match piece {
        NamePiece::Text(text) => text.clone(),
        NamePiece::Index { axis, first: 0 } => format!("{{{}}}", program.axis(*axis).name),
        NamePiece::Index { axis, first } => format!("{{{} + {first}}}", program.axis(*axis).name),
    };
    param.source.name.iter().map(piece).collect()
}

fn markdown(page: &[Part]) -> String {
    let mut text = String::new();
    for part in page {
        let _ = match part {
            Part::Heading(level, title) => writeln!(text, "{} {title}\n", "#".repeat(usize::from(*level))),
            Part::Text(words) => writeln!(text, "{words}\n"),
            Part::Code(code) => writeln!(text, "```text\n{code}\n```\n"),
            Part::Table(_, rows) if rows.is_empty() => Ok(()),
            Part::Table(header, rows) => {
                let _ = writeln!(text, "| {} |\n|{}", header.join(" | "), " --- |".repeat(header.len()));
                for row in rows {
                    let (last, cells) = row.split_last().map_or(("", &[][..]), |(last, cells)| (last.as_str(), cells));
                    let cells: Vec<String> = cells.iter().map(|cell| format!("`{cell}`")).collect();
                    let _ = writeln!(text, "| {} | {} |", cells.join(" | "), last.replace('|', "\\|"));
                }
                writeln!(text)
            }
        };
    }
    text
}

fn html(title: &str, page: &[Part]) -> String {
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title>\n<style>body {{ font: 16px/1.5 sans-serif; \
         max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color-scheme: light dark }} td, th {{ text-align: left; padding: 0 1rem 0 0; \
         vertical-align: top }}</style></head><body>\n",
        escaped(title)
    );
    for part in page {
        let _ = match part {
            Part::Heading(level, title) => writeln!(text, "<h{level}>{}</h{level}>", escaped(title)),
            Part::Text(words) => writeln!(text, "<p>{}</p>", escaped(words)),
            Part::Code(code) => writeln!(text, "<pre>{}</pre>", escaped(code)),
            Part::Table(_, rows) if rows.is_empty() => Ok(()),
            Part::Table(header, rows) => {
                let cells: String = header.iter().map(|h| format!("<th>{}</th>", escaped(h))).collect();
                let _ = writeln!(text, "<table><tr>{cells}</tr>");
                for row in rows {
                    let (last, cells) = row.split_last().map_or(("", &[][..]), |(last, cells)| (last.as_str(), cells));
                    let cells: String = cells.iter().map(|c| format!("<td><code>{}</code></td>", escaped(c))).collect();
                    let _ = writeln!(text, "<tr>{cells}<td>{}</td></tr>", escaped(last));
                }
                writeln!(text, "</table>")
            }
        };
    }
    text + "</body></html>\n"
}

fn at_first(program: &Program, init: Init) -> String {
    match init {
        Init::Each(value) => value.to_string(),
        Init::Param(i) => format!("the buffer, from {}", file_name(program, &program.params[i])),
    }
}
