//! SVG by a layered layout: nodes left and right, what joins them between, in the order of the file.

use std::fmt::Write;

use super::{Line, Picture, Role, Shape, escape};

const CHAR: usize = 8;
const LINE: usize = 18;
const PAD: usize = 12;
const COLUMN_GAP: usize = 190;
const ROW_GAP: usize = 46;

/// Where a box stands, in pixels.
#[derive(Clone, Copy)]
struct Placed {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
}

impl Placed {
    fn middle(self) -> (usize, usize) {
        (self.x + self.width / 2, self.y + self.height / 2)
    }
}

pub fn render(picture: &Picture) -> String {
    let placed = layout(picture);
    let width = placed.iter().map(|at| at.x + at.width).max().unwrap_or(0) + PAD;
    let height = placed.iter().map(|at| at.y + at.height).max().unwrap_or(0) + PAD;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\n\
         <title>{}</title>\n\
         <style>svg {{ font: 13px sans-serif; background: #fff; }} text {{ text-anchor: middle; fill: #1b1f24; }} .small {{ font-size: 11px; paint-order: stroke; stroke: #fff; stroke-width: 4px; }} \
         .wire {{ stroke: #57606a; stroke-width: 1.5; }} .tunnel {{ stroke: #8250df; stroke-width: 1.5; stroke-dasharray: 6 4; }} rect {{ stroke: #57606a; }} \
         .node {{ fill: #ddf4ff; }} .host {{ fill: #f6f8fa; }} .switch {{ fill: #dafbe1; }} .nic {{ fill: #fff8c5; }}</style>\n",
        escape(&picture.title)
    );
    for line in &picture.lines {
        wire(&mut out, line, &placed);
    }
    for (shape, at) in picture.shapes.iter().zip(&placed) {
        block(&mut out, shape, *at);
    }
    for (index, line) in picture.lines.iter().enumerate() {
        label(&mut out, picture, index, line, &placed);
    }
    out.push_str("</svg>\n");
    out
}

/// Columns by distance from the first node; rows within a column in order of declaration.
fn layout(picture: &Picture) -> Vec<Placed> {
    let count = picture.shapes.len();
    let mut column: Vec<Option<usize>> = vec![None; count];
    let start = |role: Role| picture.shapes.iter().position(|shape| shape.role == role);
    let mut queue = std::collections::VecDeque::new();
    loop {
        let next = match queue.pop_front() {
            Some(next) => next,
            None => {
                let first = start(Role::Node).filter(|&node| column[node].is_none());
                let Some(root) = first.or_else(|| (0..count).find(|&shape| column[shape].is_none())) else { break };
                column[root] = Some(0);
                root
            }
        };
        let depth = column[next].unwrap_or(0);
        for line in &picture.lines {
            let other = match (line.from == next, line.to == next) {
                (true, _) => line.to,
                (_, true) => line.from,
                _ => continue,
            };
            if column[other].is_none() {
                column[other] = Some(depth + 1);
                queue.push_back(other);
            }
        }
    }
    let size = |shape: &Shape| {
        let longest = shape.lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        let longest = longest.max(shape.name.chars().count()).max(6);
        (longest * CHAR + 2 * PAD, (shape.lines.len() + 1) * LINE + PAD)
    };
    let columns = column.iter().flatten().max().map_or(0, |last| last + 1);
    let mut placed = vec![Placed { x: 0, y: 0, width: 0, height: 0 }; count];
    let mut x = PAD;
    for depth in 0..columns {
        let members: Vec<usize> = (0..count).filter(|&shape| column[shape] == Some(depth)).collect();
        let width = members.iter().map(|&shape| size(&picture.shapes[shape]).0).max().unwrap_or(0);
        let mut y = PAD + ROW_GAP / 2;
        for shape in members {
            let height = size(&picture.shapes[shape]).1;
            placed[shape] = Placed { x, y, width, height };
            y += height + ROW_GAP;
        }
        x += width + COLUMN_GAP;
    }
    placed
}

fn block(out: &mut String, shape: &Shape, at: Placed) {
    let (class, round) = match shape.role {
        Role::Node => ("node", 8),
        Role::Host => ("host", 0),
        Role::Switch => ("switch", 3),
        Role::Nic => ("nic", 0),
    };
    let Placed { x, y, width, height } = at;
    let (middle, _) = at.middle();
    write!(
        out,
        "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"{round}\"/>\n\
         <text x=\"{middle}\" y=\"{}\" font-weight=\"bold\">{}</text>\n",
        y + LINE,
        escape(&shape.name)
    )
    .expect("a string takes all");
    for (row, line) in shape.lines.iter().enumerate() {
        writeln!(out, "<text x=\"{middle}\" y=\"{}\">{}</text>", y + LINE * (row + 2), escape(line))
            .expect("a string takes all");
    }
}

fn wire(out: &mut String, line: &Line, placed: &[Placed]) {
    let ((x1, y1), (x2, y2)) = (placed[line.from].middle(), placed[line.to].middle());
    let class = if line.dashed { "tunnel" } else { "wire" };
    writeln!(out, "<line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>")
        .expect("a string takes all");
}

/// The label stands in the gap between the boxes; several lines between the same two boxes stack.
fn label(out: &mut String, picture: &Picture, index: usize, line: &Line, placed: &[Placed]) {
    let (a, b) = (placed[line.from], placed[line.to]);
    let (left, right) = if a.x <= b.x { (a, b) } else { (b, a) };
    let x = if left.x == right.x { left.middle().0 } else { (left.x + left.width + right.x) / 2 };
    let ((x1, y1), (x2, y2)) = (left.middle(), right.middle());
    let share = if x1 == x2 { 0.5 } else { (x as f64 - x1 as f64) / (x2 as f64 - x1 as f64) };
    let y = (y1 as f64 + (y2 as f64 - y1 as f64) * share) as usize;
    let same = |other: &&Line| {
        (other.from, other.to) == (line.from, line.to) || (other.to, other.from) == (line.from, line.to)
    };
    let before: usize = picture.lines[..index].iter().filter(same).map(|other| other.label.len()).sum();
    for (row, text) in line.label.iter().enumerate() {
        let y = y + (before + row) * 13 - (line.label.len() * 13 / 2).min(y);
        writeln!(out, "<text class=\"small\" x=\"{x}\" y=\"{}\">{}</text>", y + 9, escape(text))
            .expect("a string takes all");
    }
}
