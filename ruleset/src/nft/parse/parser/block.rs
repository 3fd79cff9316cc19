//! What is between the braces of tables, chains, sets and flowtables.

use nftwire::uapi;

use super::super::lexer::{Kind, Sign};
use super::super::source::Fault;
use super::super::syntax::{
    ChainBlock, Expr, ExprKind, FlowtableBlock, HookSpec, Name, Priority, Rules, SetBlock, TableBlock,
    TypeSpec, ValueSpec,
};
use super::command::object_kind;
use super::expression::Side;
use super::{MAX_FAULTS, Parsed, Parser};

impl Parser<'_> {
    /// Lines between braces, with variables of their own.
    pub(super) fn block(&mut self, mut line: impl FnMut(&mut Self) -> Parsed<()>) -> Parsed<()> {
        self.expect(Sign::BraceOpen)?;
        self.scopes.push(std::collections::HashMap::new());
        let result = self.block_lines(&mut line);
        self.scopes.pop();
        result
    }

    fn block_lines(&mut self, line: &mut impl FnMut(&mut Self) -> Parsed<()>) -> Parsed<()> {
        loop {
            if self.separator() {
                continue;
            }
            if self.sign(Sign::BraceClose) {
                return Ok(());
            }
            if self.at(Kind::End) || self.faults.len() >= MAX_FAULTS {
                return Err(self.unexpected());
            }
            let parsed = match self.common() {
                Ok(false) => line(self),
                parsed => parsed.map(drop),
            };
            if let Err(fault) = parsed {
                self.recover(fault);
            }
        }
    }

    pub(super) fn table_block(&mut self) -> Parsed<TableBlock> {
        let mut block = TableBlock::default();
        self.block(|parser| {
            let word = parser.word().to_owned();
            match word.as_str() {
                "flags" => {
                    parser.next();
                    loop {
                        block.flags.push(parser.identifier()?);
                        if !parser.sign(Sign::Comma) {
                            break;
                        }
                    }
                }
                "comment" => parser.comment(&mut block.comment)?,
                "chain" => {
                    parser.next();
                    let name = parser.identifier()?;
                    block.chains.push((name, parser.chain_block()?));
                }
                "set" | "map" => {
                    parser.next();
                    let name = parser.identifier()?;
                    block.sets.push((name, parser.set_block(word == "map")?));
                }
                "flowtable" => {
                    parser.next();
                    let name = parser.identifier()?;
                    block.flowtables.push((name, parser.flowtable_block()?));
                }
                word => {
                    let kind = if word == "ct" {
                        parser.next();
                        parser.ct_object()?
                    } else {
                        let kind = object_kind(word);
                        let Some(kind) = kind else { return Err(parser.unexpected()) };
                        parser.next();
                        kind
                    };
                    let name = parser.identifier()?;
                    block.objects.push((name, parser.object_block(kind)?));
                }
            }
            parser.end_in_block()
        })?;
        Ok(block)
    }

    pub(super) fn chain_block(&mut self) -> Parsed<ChainBlock> {
        let mut block = ChainBlock::default();
        self.block(|parser| {
            match parser.word() {
                "type" => block.hook = Some(parser.hook()?),
                "policy" => {
                    parser.next();
                    block.policy = Some(parser.policy()?);
                }
                "flags" => {
                    parser.next();
                    parser.expect_keyword("offload")?;
                    block.offload = true;
                }
                "comment" => parser.comment(&mut block.comment)?,
                _ => parser.rule_of(&mut block.rules)?,
            }
            parser.end_in_block()
        })?;
        Ok(block)
    }

    fn rule_of(&mut self, rules: &mut Rules) -> Parsed<()> {
        if self.leaves_rules && self.leave_unread(rules) {
            return Ok(());
        }
        let before = self.variables_read;
        let rule = self.rule()?;
        // A rule may begin in a text that is included and end in the one that includes it.
        let as_text = self.variables_read == before && rule.span.source == self.last.source;
        rules.push(rule, as_text, |source| self.sources.share(source));
        Ok(())
    }

    fn policy(&mut self) -> Parsed<Expr> {
        if self.at_sign(Sign::Dollar) || matches!(self.word(), "accept" | "drop") {
            return self.primary(Side::Right);
        }
        Err(self.unexpected())
    }

    fn hook(&mut self) -> Parsed<HookSpec> {
        let start = self.peek().span;
        self.expect_keyword("type")?;
        let kind = self.identifier()?;
        self.expect_keyword("hook")?;
        let hook = self.identifier()?;
        let mut devices = Vec::new();
        if self.keyword("device") {
            devices.push(if self.at_sign(Sign::Dollar) {
                self.primary(Side::Right)?
            } else {
                self.device()?
            });
        } else if self.keyword("devices") {
            self.expect(Sign::Assign)?;
            devices = self.devices()?;
        }
        let priority = self.priority()?;
        let span = start.to(self.last);
        Ok(HookSpec { kind, hook, devices, priority, span })
    }

    fn device(&mut self) -> Parsed<Expr> {
        if self.at_sign(Sign::Dollar) {
            return self.primary(Side::Right);
        }
        let name = self.string()?;
        Ok(Expr { kind: ExprKind::Quoted(name.text), span: name.span })
    }

    fn devices(&mut self) -> Parsed<Vec<Expr>> {
        if self.at_sign(Sign::Dollar) {
            return Ok(vec![self.primary(Side::Right)?]);
        }
        self.expect(Sign::BraceOpen)?;
        let mut devices = Vec::new();
        loop {
            self.newlines();
            if self.sign(Sign::BraceClose) {
                return Ok(devices);
            }
            devices.push(self.device()?);
            self.newlines();
            if !self.sign(Sign::Comma) {
                self.expect(Sign::BraceClose)?;
                return Ok(devices);
            }
        }
    }

    fn priority(&mut self) -> Parsed<Priority> {
        let start = self.peek().span;
        self.expect_keyword("priority")?;
        let mut base = None;
        let negative = |parser: &mut Self| parser.sign(Sign::Dash);
        let offset = if self.at(Kind::Number) {
            self.signed(false)?
        } else if negative(self) {
            self.signed(true)?
        } else {
            base = Some(if self.at_sign(Sign::Dollar) {
                self.primary(Side::Right)?
            } else {
                let name = self.identifier()?;
                Expr { kind: ExprKind::Word(name.text), span: name.span }
            });
            match () {
                () if self.sign(Sign::Plus) => self.signed(false)?,
                () if negative(self) => self.signed(true)?,
                () => 0,
            }
        };
        Ok(Priority { base, offset, span: start.to(self.last) })
    }

    fn signed(&mut self, negative: bool) -> Parsed<i64> {
        let number = i64::try_from(self.number()?).ok();
        let number = number.map(|number| if negative { -number } else { number });
        let fits = number.filter(|number| i32::try_from(*number).is_ok());
        fits.ok_or_else(|| Fault::new(self.last, "priority is out of range"))
    }

    pub(super) fn set_block(&mut self, map: bool) -> Parsed<SetBlock> {
        let start = self.peek().span;
        let mut block = SetBlock { map, span: start, ..SetBlock::default() };
        self.block(|parser| {
            let line = parser.set_line(&mut block);
            block.span = start.to(parser.last);
            line
        })?;
        Ok(block)
    }

    fn set_line(&mut self, block: &mut SetBlock) -> Parsed<()> {
        match self.word() {
            "type" | "typeof" => self.set_type(block)?,
            "flags" => {
                self.next();
                loop {
                    block.flags |= self.set_flag()?;
                    if !self.sign(Sign::Comma) {
                        break;
                    }
                }
            }
            "timeout" => {
                self.next();
                block.timeout = Some(self.duration()?);
            }
            "gc-interval" => {
                self.next();
                block.gc_interval = Some(self.duration()?);
            }
            "size" => {
                self.next();
                block.size = Some(self.number()?);
            }
            "policy" => {
                self.next();
                block.memory_policy = Some(match self.word() {
                    "memory" => true,
                    "performance" => false,
                    _ => return Err(self.unexpected()),
                });
                self.next();
            }
            "auto-merge" => {
                self.next();
                block.auto_merge = true;
            }
            "comment" => self.comment(&mut block.comment)?,
            "elements" => {
                self.next();
                self.expect(Sign::Assign)?;
                let elements =
                    if self.at_sign(Sign::Dollar) { self.primary(Side::Right)? } else { self.set()? };
                match &mut block.elements {
                    Some(Expr { kind: ExprKind::Set(before), .. }) => {
                        before.push(super::super::syntax::Element {
                            key: elements,
                            value: None,
                            details: None,
                        });
                    }
                    before => *before = Some(elements),
                }
                // nft needs no end of a line here.
                return Ok(());
            }
            "counter" | "limit" | "quota" | "last" | "ct" => {
                while matches!(self.word(), "counter" | "limit" | "quota" | "last" | "ct") {
                    block.statements.push(self.stateful()?);
                }
            }
            _ => return Err(self.unexpected()),
        }
        self.end_in_block()
    }

    fn set_flag(&mut self) -> Parsed<u32> {
        let flag = match self.word() {
            "constant" => uapi::NFT_SET_CONSTANT,
            "interval" => uapi::NFT_SET_INTERVAL,
            "timeout" => uapi::NFT_SET_TIMEOUT,
            "dynamic" => uapi::NFT_SET_EVAL,
            _ => return Err(self.unexpected()),
        };
        self.next();
        Ok(flag)
    }

    fn set_type(&mut self, block: &mut SetBlock) -> Parsed<()> {
        let named = self.word() == "type";
        self.next();
        block.key = Some(self.type_spec(named)?);
        if !block.map {
            return Ok(());
        }
        self.expect(Sign::Colon)?;
        if named && let Some(kind) = object_kind(self.word()) {
            self.next();
            block.value = Some(ValueSpec::Object(kind));
            return Ok(());
        }
        let interval = self.keyword("interval");
        block.value = Some(ValueSpec::Data(self.type_spec(named)?, interval));
        Ok(())
    }

    fn type_spec(&mut self, named: bool) -> Parsed<TypeSpec> {
        if !named {
            return Ok(TypeSpec::Of(self.concat(Side::Left)?));
        }
        let mut names = vec![self.identifier()?];
        while self.sign(Sign::Dot) {
            names.push(self.identifier()?);
        }
        Ok(TypeSpec::Names(names))
    }

    pub(super) fn flowtable_block(&mut self) -> Parsed<FlowtableBlock> {
        let mut block = FlowtableBlock::default();
        self.block(|parser| {
            match parser.word() {
                "hook" => {
                    parser.next();
                    block.hook = Some(parser.identifier()?);
                    block.priority = Some(parser.priority()?);
                }
                "devices" => {
                    parser.next();
                    parser.expect(Sign::Assign)?;
                    block.devices = parser.devices()?;
                }
                "counter" => {
                    parser.next();
                    block.flags |= uapi::NFT_FLOWTABLE_COUNTER;
                }
                "flags" => {
                    parser.next();
                    parser.expect_keyword("offload")?;
                    block.flags |= uapi::NFT_FLOWTABLE_HW_OFFLOAD;
                }
                _ => return Err(parser.unexpected()),
            }
            parser.end_in_block()
        })?;
        Ok(block)
    }

    /// A word as an expression's name.
    pub(super) fn optional_string(&mut self) -> Parsed<Option<Name>> {
        match self.peek().kind {
            Kind::Quoted | Kind::Word => self.string().map(Some),
            _ => Ok(None),
        }
    }
}
