package event

import (
	"errors"
	"strings"
	"testing"
)

func TestCoordinateValidate(t *testing.T) {
	long := strings.Repeat("a", MaxCoordinateBytes)
	for _, tt := range []struct {
		name, entity, scope string
		part                string // "" if the coordinate is valid
		reason              CoordinateReason
	}{
		{name: "plain", entity: "player:1", scope: "room:dungeon"},
		{name: "star", entity: "x:*", scope: "s"},
		{name: "not ASCII", entity: "日本", scope: "é"},
		{name: "space and at", entity: "a b@c", scope: "@"},
		{name: "single dots", entity: "a.b.c", scope: "."},
		{name: "backslash", entity: `a\b`, scope: "s"},
		{name: "C1 control", entity: "a\u0085", scope: "s"},
		{name: "longest", entity: long, scope: long},
		{name: "longest of two-byte runes", entity: strings.Repeat("é", 512), scope: "s"},

		{"no entity", "", "s", "entity", Empty},
		{"no scope", "e", "", "scope", Empty},
		{"neither", "", "", "entity", Empty},
		{"long entity", long + "a", "s", "entity", TooLong},
		{"long scope", "e", long + "a", "scope", TooLong},
		{"bytes, not runes", strings.Repeat("é", 512) + "a", "s", "entity", TooLong},
		{"NUL", "a\x00", "s", "entity", NulByte},
		{"unit separator", "a\x1f", "s", "entity", ControlChar},
		{"newline", "a\n", "s", "entity", ControlChar},
		{"DEL", "a\x7f", "s", "entity", ControlChar},
		{"slash", "a/b", "s", "entity", PathTraversal},
		{"two dots", "a..b", "s", "entity", PathTraversal},
		{"bar", "a|b", "s", "entity", ForbiddenSeparator},
		{"equals", "a=b", "s", "entity", ForbiddenSeparator},
		{"cut-off rune", "a\xe6\x97", "s", "entity", NotUTF8},
		{"surrogate", "a\xed\xa0\x80", "s", "entity", NotUTF8},
		{"overlong slash", "a\xc0\xaf", "s", "entity", NotUTF8},
		{"scope with NUL", "e", "\x00", "scope", NulByte},
		{"scope with two dots", "e", "..", "scope", PathTraversal},
		{"scope not UTF-8", "e", "\xff", "scope", NotUTF8},

		// The order of the checks: each row breaks the rule it names and a later one.
		{"empty scope before long entity", long + "a", "", "scope", Empty},
		{"empty scope before bytes of the entity", "/", "", "scope", Empty},
		{"long entity before long scope", long + "a", long + "a", "entity", TooLong},
		{"long entity before its bytes", long + "/", "s", "entity", TooLong},
		{"long scope before bytes of the entity", "/", long + "a", "scope", TooLong},
		{"bytes of the entity before those of the scope", "|", "\x00", "entity", ForbiddenSeparator},
		{"the first byte that is wrong", "=/\x00", "s", "entity", ForbiddenSeparator},
		{"a rule of bytes before UTF-8", "\xff/", "s", "entity", PathTraversal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := At(tt.entity, tt.scope).Validate()
			if tt.part == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var bad *CoordinateError
			if !errors.As(err, &bad) || bad.Part != tt.part || bad.Reason != tt.reason || !errors.Is(err, ErrInvalid) {
				t.Errorf("got %v, want %s %s", err, tt.part, tt.reason)
			}
			if s := err.Error(); len(s) > 400 || strings.ContainsAny(s, "\x00\n") {
				t.Errorf("error text of %d bytes: %q", len(s), s)
			}
		})
	}
}

func TestCoordinateString(t *testing.T) {
	if got := At("player:1", "room").String(); got != "player:1@room" {
		t.Error(got)
	}
}

// TestCoordinateFromBytes edits an encoded header so that its entity breaks a rule: there is an error and no header.
func TestCoordinateFromBytes(t *testing.T) {
	h := sampleHeader()
	for _, c := range []string{"\x00", "\x1f", "/", "|", "=", "\xff"} {
		b := []byte(strings.Replace(string(AppendHeader(nil, &h)), "player:1", "player"+c+"1", 1))
		got, err := DecodeHeader(b)
		if !errors.Is(err, ErrInvalid) || got.Entity != "" {
			t.Errorf("%q: %v, entity %q", c, err, got.Entity)
		}
	}
}

func TestInNamespace(t *testing.T) {
	for _, tt := range []struct {
		entity, prefix string
		want           bool
	}{
		{"alice", "alice", true},
		{"alice:1", "alice", true},
		{"alice:1:x", "alice", true},
		{"alice:1:x", "alice:1", true},
		{"alice:", "alice", true},
		{"alice2", "alice", false},
		{"alic", "alice", false},
		{"Alice", "alice", false},
		{"alice:1", "alice:", false},
		{"", "alice", false},
	} {
		if got := InNamespace(tt.entity, tt.prefix); got != tt.want {
			t.Errorf("InNamespace(%q, %q) = %v", tt.entity, tt.prefix, got)
		}
	}
}
