//! Mermaid flowchart.

use std::fmt::Write;

use super::{Picture, Role, escape};

pub fn render(picture: &Picture) -> String {
    let mut out = String::from("flowchart LR\n");
    let mut draw = |index: usize, indent: &str| {
        let shape = &picture.shapes[index];
        let mut text = vec![format!("<b>{}</b>", escape(&shape.name))];
        text.extend(shape.lines.iter().map(|line| escape(line)));
        let text = text.join("<br/>");
        let (open, close) = match shape.role {
            Role::Node => ("(\"", "\")"),
            Role::Host => ("[\"", "\"]"),
            Role::Switch => ("{{\"", "\"}}"),
            Role::Nic => ("[/\"", "\"/]"),
        };
        writeln!(out, "{indent}n{index}{open}{text}{close}").expect("a string takes all");
    };
    for index in 0..picture.shapes.len() {
        draw(index, "  ");
    }
    for line in &picture.lines {
        let arrow = if line.dashed { "-.-" } else { "---" };
        let label: Vec<String> = line.label.iter().map(|text| escape(text)).collect();
        let label = if label.is_empty() { String::new() } else { format!("|\"{}\"|", label.join("<br/>")) };
        writeln!(out, "  n{} {arrow}{label} n{}", line.from, line.to).expect("a string takes all");
    }
    out
}
