//! The picture for graphviz: `dot -Tsvg`.

use std::fmt::{self, Write};

use super::{Graph, Node, amount, escaped, text};

/// What distinguishes tables.
const TABLES: [&str; 8] =
    ["#dbe8f7", "#dcefdd", "#fbe6d0", "#ecdff5", "#d6eeee", "#f8dde2", "#f1edc9", "#e4e8ee"];

impl Graph {
    /// The picture in the language of graphviz.
    #[must_use]
    pub fn dot(&self) -> String {
        let mut out = String::new();
        // A String takes everything.
        let _ = self.write_dot(&mut out);
        out
    }

    fn write_dot(&self, out: &mut String) -> fmt::Result {
        out.push_str(
            "digraph ruleset {\n\trankdir=LR\n\tnode [shape=plain, fontname=\"monospace\", fontsize=10]\n\
             \tedge [color=\"#4a5568\", arrowsize=0.7]\n",
        );
        let lines: Vec<_> = self.notes.iter().flat_map(|note| text::lines(note)).collect();
        if !lines.is_empty() {
            let lines: String =
                lines.iter().map(|line| format!("{}<br align=\"left\"/>", escaped(line))).collect();
            writeln!(out, "\tlabelloc=t\n\tlabeljust=l\n\tlabel=<{lines}>")?;
        }
        for (index, chain) in self.chains.iter().enumerate() {
            write_chain(index, chain, out)?;
        }
        for (index, chain) in self.chains.iter().enumerate() {
            for (number, row) in chain.rows.iter().enumerate() {
                for jump in &row.jumps {
                    let style = if jump.goto { " [style=dashed]" } else { "" };
                    writeln!(out, "\tchain{index}:row{number}:e -> chain{}:head:w{style}", jump.chain)?;
                }
            }
        }
        // Base chains are drawn one below the other, in the order of hooks.
        let base: Vec<_> =
            (0..self.chains.len()).filter(|index| self.chains[*index].hook.is_some()).collect();
        out.push_str("\t{\n\t\trank=same\n\t\tedge [style=invis]\n");
        base.iter().try_for_each(|index| writeln!(out, "\t\tchain{index}"))?;
        base.windows(2).try_for_each(|pair| writeln!(out, "\t\tchain{} -> chain{}", pair[0], pair[1]))?;
        out.push_str("\t}\n}\n");
        Ok(())
    }
}

fn write_chain(index: usize, chain: &Node, out: &mut String) -> fmt::Result {
    let colour = TABLES[chain.table % TABLES.len()];
    writeln!(
        out,
        "\tchain{index} [label=<<table border=\"1\" cellborder=\"0\" cellspacing=\"0\">\n\
         \t\t<tr><td port=\"head\" colspan=\"2\" align=\"left\" balign=\"left\" bgcolor=\"{colour}\"><b>{} </b><br/>{}</td></tr>",
        escaped(&chain.name),
        escaped(&chain.facts),
    )?;
    for (number, row) in chain.rows.iter().enumerate() {
        let colour = if row.moved { " bgcolor=\"#ffeeb5\"" } else { "" };
        writeln!(
            out,
            "\t\t<tr><td align=\"left\"{colour}>{} </td><td port=\"row{number}\" align=\"right\"{colour}>{} </td></tr>",
            escaped(&row.text).replace("    ", "&#160;&#160;&#160;&#160;"),
            row.counted.map(amount).unwrap_or_default(),
        )?;
    }
    writeln!(out, "\t</table>>]")
}
