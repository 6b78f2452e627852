//! A reader of the Thrift compact protocol that allocates nothing: it walks structures to look at a few
//! integers before a real parser trusts the rest.
//!
//! Encoding rules: "Thrift compact protocol" specification. Every length is checked against the bytes that are
//! left, and nesting against [`MAX_DEPTH`], so that hostile input costs time linear in its size.

use crate::format::FormatError;

/// Parquet's own structures nest fewer than ten levels.
const MAX_DEPTH: u8 = 32;

/// A cursor over encoded bytes.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Type of a field or element on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    Byte,
    Int,
    Double,
    Binary,
    List,
    Map,
    Struct,
}

/// A field header: its number, its type, and the value of a boolean, which the header itself carries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) id: i64,
    pub(super) kind: Type,
    pub(super) flag: bool,
}

fn broken() -> FormatError {
    FormatError::malformed("its metadata is not valid Thrift")
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes consumed so far.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Calls `visit` for each field of a struct; a field that it does not consume (`false`) is skipped.
    pub(super) fn fields(
        &mut self,
        mut visit: impl FnMut(&mut Self, Field) -> Result<bool, FormatError>,
    ) -> Result<(), FormatError> {
        let mut last = 0;
        while let Some(field) = self.field(last)? {
            last = field.id;
            if !visit(self, field)? {
                self.skip_field(field, MAX_DEPTH)?;
            }
        }
        Ok(())
    }

    /// An integer of any width.
    pub(super) fn int(&mut self) -> Result<i64, FormatError> {
        let raw = self.varint()?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// Type and number of the elements that follow; each takes at least one byte, so no more than bytes are left.
    pub(super) fn list(&mut self) -> Result<(Type, usize), FormatError> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => usize::try_from(self.varint()?).map_err(|_| broken())?,
            small => usize::from(small),
        };
        if count > self.bytes.len() - self.at {
            return Err(broken());
        }
        Ok((wire_type(head & 0x0f)?, count))
    }

    fn field(&mut self, last: i64) -> Result<Option<Field>, FormatError> {
        let head = self.byte()?;
        let wire = head & 0x0f;
        if wire == 0 {
            return Ok(None);
        }
        let id = match head >> 4 {
            0 => self.int()?,
            delta => last.checked_add(i64::from(delta)).ok_or_else(broken)?,
        };
        Ok(Some(Field {
            id,
            kind: wire_type(wire)?,
            flag: wire == 1,
        }))
    }

    fn skip_field(&mut self, field: Field, depth: u8) -> Result<(), FormatError> {
        if field.kind == Type::Bool {
            Ok(())
        } else {
            self.skip(field.kind, depth)
        }
    }

    fn skip(&mut self, kind: Type, depth: u8) -> Result<(), FormatError> {
        let depth = depth
            .checked_sub(1)
            .ok_or_else(|| FormatError::malformed("its metadata is nested too deeply"))?;
        match kind {
            Type::Bool | Type::Byte => self.advance(1),
            Type::Int => self.varint().map(drop),
            Type::Double => self.advance(8),
            Type::Binary => {
                let len = self.varint()?;
                self.advance(usize::try_from(len).map_err(|_| broken())?)
            }
            Type::List => {
                let (element, count) = self.list()?;
                (0..count).try_for_each(|_| self.skip(element, depth))
            }
            Type::Map => self.skip_map(depth),
            Type::Struct => {
                let mut last = 0;
                while let Some(field) = self.field(last)? {
                    last = field.id;
                    self.skip_field(field, depth)?;
                }
                Ok(())
            }
        }
    }

    fn skip_map(&mut self, depth: u8) -> Result<(), FormatError> {
        let count = usize::try_from(self.varint()?).map_err(|_| broken())?;
        if count == 0 {
            return Ok(());
        }
        let types = self.byte()?;
        let (key, value) = (wire_type(types >> 4)?, wire_type(types & 0x0f)?);
        if count > self.bytes.len() - self.at {
            return Err(broken());
        }
        (0..count).try_for_each(|_| self.skip(key, depth).and_then(|()| self.skip(value, depth)))
    }

    fn varint(&mut self) -> Result<u64, FormatError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(broken())
    }

    fn byte(&mut self) -> Result<u8, FormatError> {
        let byte = *self.bytes.get(self.at).ok_or_else(broken)?;
        self.at += 1;
        Ok(byte)
    }

    fn advance(&mut self, count: usize) -> Result<(), FormatError> {
        let end = self
            .at
            .checked_add(count)
            .filter(|end| *end <= self.bytes.len())
            .ok_or_else(broken)?;
        self.at = end;
        Ok(())
    }
}

fn wire_type(code: u8) -> Result<Type, FormatError> {
    Ok(match code {
        1 | 2 => Type::Bool,
        3 => Type::Byte,
        4..=6 => Type::Int,
        7 => Type::Double,
        8 => Type::Binary,
        9 | 10 => Type::List,
        11 => Type::Map,
        12 => Type::Struct,
        _ => return Err(broken()),
    })
}
