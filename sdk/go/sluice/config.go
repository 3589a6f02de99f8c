package sluice

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Config is the config table of a stage, or a table in it. The first thing that is wrong is remembered and told by Err,
// so that Init asks for key after key without a word about errors. (encoding/json reads the table as well, with two
// thirds more component.)
type Config struct {
	path  string // where the table is, with a dot at its end
	table []entry
	asked []string
	inner []*Config
	err   error
}

// ParseConfig reads what Init got.
func ParseConfig(config []byte) *Config {
	p := parser{rest: string(config)}
	v := p.value(0)
	if p.space(); p.err == nil && p.rest != "" || v.kind != '{' {
		p.fail()
	}
	return &Config{table: v.table, err: p.err}
}

// Err returns what is wrong: a key that nobody asked for, else the first of all other problems. Ask for every key
// there is before.
func (c *Config) Err() error {
	for _, entry := range c.table {
		if !contains(c.asked, entry.key) {
			return errors.New("unknown key `" + c.path + entry.key + "`" + c.expected())
		}
	}
	if c.err != nil {
		return c.err
	}
	for _, inner := range c.inner {
		if err := inner.Err(); err != nil {
			return err
		}
	}
	return nil
}

// Has reports whether there is a value.
func (c *Config) Has(key string) bool {
	return c.get(key).kind != 0
}

// Require makes it an error that there is no value; remedy says what to do.
func (c *Config) Require(key, remedy string) {
	if !c.Has(key) {
		c.fail(key, "is missing: "+remedy)
	}
}

// Uint returns a number from low to high, and def if there is none.
func (c *Config) Uint(key string, low, high, def uint64) uint64 {
	v := c.get(key)
	if v.kind == 0 {
		return def
	}
	number, err := strconv.ParseUint(v.text, 10, 64)
	if v.kind != '0' || err != nil || number < low || number > high {
		c.fail(key, "must be a number"+span(low, high))
		return def
	}
	return number
}

// Float returns a number, and def if there is none.
func (c *Config) Float(key string, def float64) float64 {
	v := c.get(key)
	if v.kind == 0 {
		return def
	}
	number, err := strconv.ParseFloat(v.text, 64)
	if v.kind != '0' || err != nil {
		c.fail(key, "must be a number")
		return def
	}
	return number
}

// Bool returns whether something is so, and def if it does not say.
func (c *Config) Bool(key string, def bool) bool {
	v := c.get(key)
	if v.kind != 0 && v.kind != 't' && v.kind != 'f' {
		c.fail(key, "must be true or false")
	}
	if v.kind == 0 {
		return def
	}
	return v.kind == 't'
}

// Text returns a text, and def if there is none.
func (c *Config) Text(key, def string) string {
	v := c.get(key)
	if v.kind == 0 {
		return def
	}
	if v.kind != '"' {
		c.fail(key, "must be a text")
		return def
	}
	return v.text
}

// Texts returns a list of texts, nil if there is none.
func (c *Config) Texts(key string) (texts []string) {
	for _, v := range c.list(key, '"', "must be a list of texts") {
		texts = append(texts, v.text)
	}
	return texts
}

// Uints returns a list of numbers, nil if there is none.
func (c *Config) Uints(key string) (numbers []uint64) {
	const problem = "must be a list of numbers, 0 or more"
	for _, v := range c.list(key, '0', problem) {
		number, err := strconv.ParseUint(v.text, 10, 64)
		if err != nil {
			c.fail(key, problem)
			return nil
		}
		numbers = append(numbers, number)
	}
	return numbers
}

// Table returns a table in this one, an empty one if there is none. Its problems are told by Err of this one.
func (c *Config) Table(key string) *Config {
	v := c.get(key)
	if v.kind != 0 && v.kind != '{' {
		c.fail(key, "must be a table")
	}
	inner := &Config{path: c.path + key + ".", table: v.table}
	c.inner = append(c.inner, inner)
	return inner
}

func (c *Config) get(key string) value {
	if !contains(c.asked, key) {
		c.asked = append(c.asked, key)
	}
	for _, entry := range c.table {
		if entry.key == key {
			return entry.value
		}
	}
	return value{}
}

func (c *Config) list(key string, kind byte, problem string) []value {
	v := c.get(key)
	if v.kind != 0 && v.kind != '[' {
		c.fail(key, problem)
		return nil
	}
	for _, element := range v.list {
		if element.kind != kind {
			c.fail(key, problem)
			return nil
		}
	}
	return v.list
}

func (c *Config) fail(key, problem string) {
	if c.err == nil {
		c.err = errors.New(c.path + key + " " + problem)
	}
}

// expected lists the keys that were asked for.
func (c *Config) expected() string {
	switch len(c.asked) {
	case 0:
		return ", expected none"
	case 1:
		return ", expected `" + c.asked[0] + "`"
	}
	last := len(c.asked) - 1
	return ", expected `" + strings.Join(c.asked[:last], "`, `") + "` or `" + c.asked[last] + "`"
}

func span(low, high uint64) string {
	switch {
	case high != math.MaxUint64:
		return " from " + strconv.FormatUint(low, 10) + " to " + strconv.FormatUint(high, 10)
	default:
		return ", " + strconv.FormatUint(low, 10) + " or more"
	}
}

func contains(all []string, one string) bool {
	for _, each := range all {
		if each == one {
			return true
		}
	}
	return false
}
