//! The picture as SVG 1.1, with nothing outside it but a font.

use std::fmt::{self, Write};

use super::layout::{Box, HEAD, Layout, Line, ROW, characters, layout};
use super::{Graph, Node, Row, RowKind, amount, escaped, text};

const FONT: &str = "'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', monospace";
/// What distinguishes tables: of the edge, and of the head.
const TABLES: [(&str, &str); 8] = [
    ("#1f5fa8", "#dbe8f7"),
    ("#2e7d32", "#dcefdd"),
    ("#b25a00", "#fbe6d0"),
    ("#7b3fa0", "#ecdff5"),
    ("#00767a", "#d6eeee"),
    ("#a8324a", "#f8dde2"),
    ("#6b6400", "#f1edc9"),
    ("#4a5568", "#e4e8ee"),
];
/// What distinguishes lines.
const LINES: [&str; 7] = ["#1f5fa8", "#b25a00", "#2e7d32", "#a8324a", "#7b3fa0", "#00767a", "#4a5568"];
/// The least that the title and the key need.
const MINIMUM: usize = 760;

impl Graph {
    /// The picture as SVG.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut out = String::new();
        // A String takes everything.
        let _ = self.draw(&mut out);
        out
    }

    fn draw(&self, out: &mut String) -> fmt::Result {
        // The key is broken into lines by the picture's width, which does not depend on the height of the key.
        let width = layout(self, 0).width.max(MINIMUM);
        let (key, top) = self.key(width)?;
        let layout = layout(self, top);
        let height = layout.height.max(top + ROW);
        writeln!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"{FONT}\" font-size=\"12\" fill=\"#1a1a1a\">"
        )?;
        writeln!(out, "<title>nf_tables ruleset</title>")?;
        writeln!(out, "<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>")?;
        out.push_str(&key);
        headings(&layout, out)?;
        for line in &layout.lines {
            self.line(line, out)?;
        }
        for (chain, place) in self.chains.iter().zip(&layout.boxes) {
            draw_chain(chain, *place, out)?;
        }
        out.push_str("</svg>\n");
        Ok(())
    }

    /// What colours and lines mean, and how much room that takes.
    fn key(&self, width: usize) -> Result<(String, usize), fmt::Error> {
        let mut out = String::new();
        let rows = self.chains.iter().flat_map(|chain| &chain.rows);
        let rules = part(rows.filter(|row| row.kind == RowKind::Rule).count(), self.total.1);
        let chains = part(self.chains.len(), self.total.0);
        let tables = self.tables.len();
        writeln!(
            out,
            "<text x=\"24\" y=\"32\" font-size=\"16\" font-weight=\"bold\">nf_tables: tables {tables}, chains {chains}, \
             rules {rules}</text>"
        )?;
        out.push_str(
            "<path d=\"M24 50h36\" stroke=\"#4a5568\" stroke-width=\"1.5\"/><path d=\"M60 46l8 4-8 4z\" fill=\"#4a5568\"/>\
             <text x=\"76\" y=\"54\" font-size=\"11\">jump: comes back</text>\
             <path d=\"M212 50h36\" stroke=\"#4a5568\" stroke-width=\"1.5\" stroke-dasharray=\"5 3\"/>\
             <path d=\"M248 46l8 4-8 4z\" fill=\"#4a5568\"/><text x=\"264\" y=\"54\" font-size=\"11\">goto: does not</text>\
             <rect x=\"384\" y=\"42\" width=\"36\" height=\"16\" fill=\"#ffeeb5\"/>\
             <text x=\"428\" y=\"54\" font-size=\"11\">its counter moved</text>\n",
        );
        let (mut x, mut y) = (24, 80);
        for (index, table) in self.tables.iter().enumerate() {
            let needed = 24 + characters(table.chars().count(), 11) + 24;
            if x > 24 && x + needed > width {
                (x, y) = (24, y + ROW);
            }
            let (edge, head) = TABLES[index % TABLES.len()];
            writeln!(
                out,
                "<rect x=\"{x}\" y=\"{}\" width=\"14\" height=\"12\" fill=\"{head}\" stroke=\"{edge}\"/>\
                 <text x=\"{}\" y=\"{y}\" font-size=\"11\">{}</text>",
                y - 10,
                x + 20,
                escaped(table)
            )?;
            x += needed;
        }
        for line in self.notes.iter().flat_map(|note| text::lines(note)) {
            y += ROW;
            writeln!(
                out,
                "<text x=\"24\" y=\"{y}\" font-size=\"11\" font-style=\"italic\">{}</text>",
                escaped(&line)
            )?;
        }
        Ok((out, y + ROW))
    }

    fn line(&self, line: &Line, out: &mut String) -> fmt::Result {
        let colour = LINES[line.target % LINES.len()];
        let (track, (end, y)) = (line.track, line.to);
        let heights = || line.sources.iter().map(|source| source.1).chain([y]);
        let (low, high) = (heights().min().unwrap_or(y), heights().max().unwrap_or(y));
        let only_goto = line.sources.iter().all(|source| source.2);
        let name = escaped(&self.chains[line.target].name);
        writeln!(out, "<g stroke=\"{colour}\" stroke-width=\"1.3\" fill=\"none\"><title>to {name}</title>")?;
        for (x, source, goto) in &line.sources {
            let dash = if *goto { DASHED } else { "" };
            writeln!(out, "<path d=\"M{x} {source}H{track}\"{dash}/>")?;
        }
        let dash = if only_goto { DASHED } else { "" };
        writeln!(out, "<path d=\"M{track} {low}V{high}M{track} {y}H{end}\"{dash}/>")?;
        for (_, source, _) in line.sources.iter().filter(|source| source.1 != low && source.1 != high) {
            writeln!(out, "<circle cx=\"{track}\" cy=\"{source}\" r=\"1.6\" fill=\"{colour}\"/>")?;
        }
        if line.arrives {
            writeln!(out, "<path d=\"M{} {}l8 4-8 4z\" fill=\"{colour}\" stroke=\"none\"/>", end - 8, y - 4)?;
        }
        out.push_str("</g>\n");
        Ok(())
    }
}

/// How many of them are drawn.
fn part(drawn: usize, total: usize) -> String {
    if drawn == total { total.to_string() } else { format!("{drawn} of {total}") }
}

const DASHED: &str = " stroke-dasharray=\"5 3\"";

fn headings(layout: &Layout, out: &mut String) -> fmt::Result {
    for (name, y, packets) in &layout.headings {
        let x = 24 + characters(name.chars().count() + 2, 15);
        writeln!(
            out,
            "<text x=\"24\" y=\"{y}\" font-size=\"15\" font-weight=\"bold\">{name}</text>\
             <text x=\"{x}\" y=\"{y}\" font-size=\"11\" fill=\"#555555\">{packets}</text>"
        )?;
    }
    Ok(())
}

fn draw_chain(chain: &Node, place: Box, out: &mut String) -> fmt::Result {
    let Box { x, y, width, height } = place;
    let (edge, head) = TABLES[chain.table % TABLES.len()];
    let stroke = if chain.hook.is_some() { 2 } else { 1 };
    writeln!(
        out,
        "<g><rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\
         <rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{HEAD}\" fill=\"{head}\"/>\
         <text x=\"{0}\" y=\"{1}\" font-size=\"13\" font-weight=\"bold\">{2}</text>\
         <text x=\"{0}\" y=\"{3}\" font-size=\"11\" fill=\"#444444\">{4}</text>",
        x + 12,
        y + 15,
        escaped(&chain.name),
        y + 30,
        escaped(&chain.facts),
    )?;
    for (index, row) in chain.rows.iter().enumerate() {
        draw_row(row, Box { y: y + HEAD + index * ROW, ..place }, out)?;
    }
    writeln!(
        out,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"none\" stroke=\"{edge}\" \
         stroke-width=\"{stroke}\"/></g>"
    )
}

fn draw_row(row: &Row, place: Box, out: &mut String) -> fmt::Result {
    let Box { x, y, width, .. } = place;
    let full = escaped(&row.full);
    let counted = row.counted.map(|(packets, bytes)| format!("\n{packets} packets, {bytes} bytes"));
    writeln!(out, "<g><title>{full}{}</title>", counted.unwrap_or_default())?;
    if row.moved {
        writeln!(
            out,
            "<rect x=\"{}\" y=\"{y}\" width=\"{}\" height=\"{ROW}\" fill=\"#ffeeb5\"/>",
            x + 1,
            width - 2
        )?;
    }
    let style = match row.text.as_str() {
        "policy drop" => " fill=\"#b00020\" font-style=\"italic\"",
        _ if row.is_remark() => " fill=\"#555555\" font-style=\"italic\"",
        _ => "",
    };
    writeln!(
        out,
        "<text x=\"{}\" y=\"{}\"{style} xml:space=\"preserve\">{}</text>",
        x + 12,
        y + 13,
        escaped(&row.text)
    )?;
    if let Some(counted) = row.counted {
        let style = if row.moved { " font-weight=\"bold\"" } else { " fill=\"#767676\"" };
        let (end, amount) = (x + width - 12, amount(counted));
        writeln!(out, "<text x=\"{end}\" y=\"{}\" text-anchor=\"end\"{style}>{amount}</text>", y + 13)?;
    }
    out.push_str("</g>\n");
    Ok(())
}
