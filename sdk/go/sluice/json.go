package sluice

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// value is a JSON value. encoding/json would make every component larger by more than a megabyte.
type value struct {
	kind  byte   // how it begins: one of {["tfn, 0 for a number, or nothing
	text  string // of texts and numbers; numbers stay exact
	list  []value
	table []entry
}

type entry struct {
	key   string
	value value
}

// maxDepth is how deep tables and lists may be nested.
const maxDepth = 32

type parser struct {
	rest string
	err  error
}

func (p *parser) fail() {
	if p.err == nil {
		p.err = errors.New("the config table is no JSON that this plugin can read")
	}
	p.rest = ""
}

func (p *parser) space() {
	p.rest = strings.TrimLeft(p.rest, " \t\r\n")
}

// next takes the next character if it is this one.
func (p *parser) next(c byte) bool {
	p.space()
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

func (p *parser) value(depth int) (v value) {
	p.space()
	switch {
	case depth > maxDepth || p.rest == "":
		p.fail()
	case p.next('{'):
		v.kind = '{'
		for !p.next('}') {
			if len(v.table) > 0 && !p.next(',') || !p.next('"') {
				p.fail()
				return value{}
			}
			key := p.text()
			if !p.next(':') {
				p.fail()
				return value{}
			}
			v.table = append(v.table, entry{key, p.value(depth + 1)})
		}
	case p.next('['):
		v.kind = '['
		for !p.next(']') {
			if len(v.list) > 0 && !p.next(',') || p.rest == "" {
				p.fail()
				return value{}
			}
			v.list = append(v.list, p.value(depth+1))
		}
	case p.next('"'):
		v = value{kind: '"', text: p.text()}
	default:
		for _, word := range []string{"true", "false", "null"} {
			if rest, ok := strings.CutPrefix(p.rest, word); ok {
				p.rest = rest
				return value{kind: word[0]}
			}
		}
		end := 0
		for end < len(p.rest) && strings.IndexByte("+-.0123456789Ee", p.rest[end]) >= 0 {
			end++
		}
		if end == 0 {
			p.fail()
			return value{}
		}
		v = value{kind: '0', text: p.rest[:end]}
		p.rest = p.rest[end:]
	}
	return v
}

// text takes a text up to the quote at its end.
func (p *parser) text() string {
	var text []byte
	for {
		end := strings.IndexAny(p.rest, `"\`)
		if end < 0 {
			p.fail()
			return ""
		}
		text = append(text, p.rest[:end]...)
		isEnd := p.rest[end] == '"'
		p.rest = p.rest[end+1:]
		if isEnd {
			return string(text)
		}
		text = p.escape(text)
	}
}

// escape appends what a backslash before the rest stands for.
func (p *parser) escape(text []byte) []byte {
	if p.rest == "" {
		p.fail()
		return text
	}
	c := p.rest[0]
	p.rest = p.rest[1:]
	if at := strings.IndexByte(`"\/bfnrt`, c); at >= 0 {
		return append(text, "\"\\/\b\f\n\r\t"[at])
	}
	if c != 'u' {
		p.fail()
		return text
	}
	char := p.hex()
	// Characters beyond 16 bits are two escapes (RFC 8259, section 7).
	if char >= 0xd800 && char < 0xdc00 && strings.HasPrefix(p.rest, `\u`) {
		p.rest = p.rest[2:]
		char = 0x10000 + (char-0xd800)<<10 + (p.hex() - 0xdc00)
	}
	return utf8.AppendRune(text, char)
}

func (p *parser) hex() rune {
	if len(p.rest) < 4 {
		p.fail()
		return 0
	}
	char, err := strconv.ParseUint(p.rest[:4], 16, 16)
	if err != nil {
		p.fail()
		return 0
	}
	p.rest = p.rest[4:]
	return rune(char)
}
