// Package native_test tests what of the SDK needs no collector.
package native_test

import (
	"math"
	"reflect"
	"testing"

	"sluice"
)

// checkConfig reads a config table as a plugin would and compares what Err says.
func checkConfig(t *testing.T, config, want string) {
	t.Helper()
	c := sluice.ParseConfig([]byte(config))
	c.Require("id", "add config = { id = 7 }")
	c.Uint("id", 1, 9, 0)
	c.Uint("min", 0, math.MaxUint64, 10)
	c.Float("ratio", 0.5)
	c.Bool("strict", false)
	c.Text("name", "")
	c.Texts("names")
	c.Uints("ports")
	c.Table("limits").Uint("rows", 0, math.MaxUint64, 0)
	got := ""
	if err := c.Err(); err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("%s\n got: %s\nwant: %s", config, got, want)
	}
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	checkConfig(t, `{"id": 7}`, "")
	checkConfig(t, `{}`, "id is missing: add config = { id = 7 }")
	checkConfig(t, `{"id": 0}`, "id must be a number from 1 to 9")
	checkConfig(t, `{"id": 10}`, "id must be a number from 1 to 9")
	checkConfig(t, `{"id": "7"}`, "id must be a number from 1 to 9")
	checkConfig(t, `{"id": 7.0}`, "id must be a number from 1 to 9")
	checkConfig(t, `{"id": 7, "min": -1}`, "min must be a number, 0 or more")
	checkConfig(t, `{"id": 7, "ratio": true}`, "ratio must be a number")
	checkConfig(t, `{"id": 7, "strict": 1}`, "strict must be true or false")
	checkConfig(t, `{"id": 7, "name": []}`, "name must be a text")
	checkConfig(t, `{"id": 7, "names": ["a", 1]}`, "names must be a list of texts")
	checkConfig(t, `{"id": 7, "ports": [80, -1]}`, "ports must be a list of numbers, 0 or more")
	checkConfig(t, `{"id": 7, "limits": 1}`, "limits must be a table")
	checkConfig(t, `{"id": 7, "limits": {"rows": "x"}}`, "limits.rows must be a number, 0 or more")
	checkConfig(t, `{"id": 7, "limits": {"row": 1}}`, "unknown key `limits.row`, expected `rows`")
	// A key that is not there comes first: it is why another one is missing.
	checkConfig(t, `{"idd": 7}`, "unknown key `idd`, expected `id`, `min`, `ratio`, `strict`, `name`, `names`, `ports` or `limits`")
}

func TestWhatIsNoJSONIsAnError(t *testing.T) {
	const problem = "the config table is no JSON that this plugin can read"
	for _, config := range []string{"", "7", "{", `{"id"`, `{"id": }`, `{"id": 7`, `{"id": 7,}`, `{"id": "\u12"}`, `{"id": 7}}`} {
		c := sluice.ParseConfig([]byte(config))
		c.Uint("id", 0, 9, 0)
		if err := c.Err(); err == nil || err.Error() != problem {
			t.Errorf("%q: %v", config, err)
		}
	}
}

func TestValuesAreReadExactly(t *testing.T) {
	c := sluice.ParseConfig([]byte(`{"big": 18446744073709551615, "f": -2.5e3, "t": "a\"\\\n\u00e9\ud83d\ude00 b", "l": ["x", ""],
		"n": [0, 18446744073709551614], "yes": true, "no": false, "in": {"deep": {"er": 1}}}`))
	check := func(name string, got, want any) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	check("big", c.Uint("big", 0, math.MaxUint64, 0), uint64(math.MaxUint64))
	check("f", c.Float("f", 0), -2500.0)
	check("t", c.Text("t", ""), "a\"\\\né😀 b")
	check("l", c.Texts("l"), []string{"x", ""})
	check("n", c.Uints("n"), []uint64{0, math.MaxUint64 - 1})
	check("yes", c.Bool("yes", false), true)
	check("no", c.Bool("no", true), false)
	check("er", c.Table("in").Table("deep").Uint("er", 0, 1, 0), uint64(1))
	check("default", c.Uint("none", 0, 1, 1), uint64(1))
	check("Err", c.Err(), nil)
}

func FuzzAnyBytesAreReadOrRefused(f *testing.F) {
	f.Add([]byte(`{"a": ["\ud83d\ude00", {"b": [1.5e3, null, true]}]}`))
	f.Fuzz(func(t *testing.T, config []byte) {
		_ = sluice.ParseConfig(config).Err()
	})
}
