//! Graphviz.

use std::fmt::Write;

use super::{Picture, Role};

pub fn render(picture: &Picture) -> String {
    let mut out = format!(
        "graph {} {{\n  rankdir=LR; node [fontname=\"sans-serif\"]; edge [fontname=\"sans-serif\", fontsize=10];\n",
        quote(&[&picture.title])
    );
    for (index, shape) in picture.shapes.iter().enumerate() {
        let form = match shape.role {
            Role::Node => "box, style=rounded",
            Role::Host => "box3d",
            Role::Switch => "hexagon",
            Role::Nic => "component",
        };
        let mut text = vec![shape.name.as_str()];
        text.extend(shape.lines.iter().map(String::as_str));
        let host = shape.host.as_ref().map(|host| format!("on {host}"));
        text.extend(host.as_deref());
        writeln!(out, "  n{index} [label={}, shape={form}];", quote(&text)).expect("a string takes all");
    }
    for line in &picture.lines {
        let text: Vec<&str> = line.label.iter().map(String::as_str).collect();
        let style = if line.dashed { ", style=dashed" } else { "" };
        writeln!(out, "  n{} -- n{} [label={}{style}];", line.from, line.to, quote(&text)).expect("a string takes all");
    }
    out.push_str("}\n");
    out
}

/// A quoted string of lines.
fn quote(lines: &[&str]) -> String {
    let escaped: Vec<String> = lines
        .iter()
        .map(|line| line.replace('\\', "\\\\").replace('"', "\\\"").replace(|c: char| c.is_control(), "\u{fffd}"))
        .collect();
    format!("\"{}\"", escaped.join("\\n"))
}
