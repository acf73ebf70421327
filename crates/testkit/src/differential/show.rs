//! A program in words: what a difference prints.

use super::draws::{flag_names, op_name};
use super::program::{Entry, Fd, Program, Step, Val};
use std::fmt;

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = &self.setup;
        writeln!(f, "  setup {} entries, flags {}", s.entries, flag_names("SETUP", s.flags))?;
        if s.cq_entries != 0 {
            writeln!(f, "        {} completions", s.cq_entries)?;
        }
        for (i, step) in self.steps.iter().enumerate() {
            match step {
                Step::Register(r) => writeln!(f, "  {i:2} register {r:?}")?,
                Step::Settle => writeln!(f, "  {i:2} settle")?,
                Step::Do(a) => writeln!(f, "  {i:2} do {a:?}")?,
                Step::Submit { sqes, wait } => {
                    writeln!(f, "  {i:2} submit {}, wait for {wait}", sqes.len())?;
                    for e in sqes {
                        writeln!(f, "       {e}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {}", self.id, op_name(self.op))?;
        match self.fd {
            Fd::Obj(o) => write!(f, " {o:?}")?,
            Fd::Number(-1) => {}
            Fd::Number(n) => write!(f, " fd={n}")?,
        }
        if self.flags != 0 {
            write!(f, " {}", flag_names("IOSQE", u32::from(self.flags)))?;
        }
        for (name, v) in [("off", &self.off), ("addr", &self.addr)] {
            match v {
                Val::Num(0) => {}
                Val::Num(n) => write!(f, " {name}={n:#x}")?,
                other => write!(f, " {name}={other:?}")?,
            }
        }
        for (name, v) in [
            ("len", self.len),
            ("op_flags", self.op_flags),
            ("ioprio", u32::from(self.ioprio)),
            ("buf_index", u32::from(self.buf_index)),
            ("personality", u32::from(self.personality)),
            ("file_index", self.file_index),
        ] {
            if v != 0 {
                write!(f, " {name}={v:#x}")?;
            }
        }
        Ok(())
    }
}
