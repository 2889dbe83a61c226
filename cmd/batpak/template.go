package main

import (
	"errors"
	"fmt"
	"math/big"
	"strings"
	"text/template"
)

const templateHelp = `A value of --entity, --scope, --kind, --time or --key that has "{{" is a Go text/template over the line's object; a field that
is missing or null is an error, and there are the functions lower, upper and replace (replace TEXT OLD NEW). A value without
that equals the name of a field of the object stands for that field; any other stands for itself. All lines must agree on
which it is: if in doubt write {{.name}} for a field and {{"name"}} for the text.`

// A text says how to get a text from an object: a template, the name of a field, or a fixed text.
type text struct {
	flag    string
	value   string
	parsed  *template.Template // nil: no template
	decided bool               // whether it was seen to be a field or not
	field   bool
	b       strings.Builder // scratch
}

var templateFuncs = template.FuncMap{"lower": strings.ToLower, "upper": strings.ToUpper, "replace": strings.ReplaceAll}

// newText reads the value of a flag.
func newText(flag, value string) (*text, error) {
	t := &text{flag: flag, value: value}
	if !strings.Contains(value, "{{") {
		return t, nil
	}
	var err error
	t.parsed, err = template.New(flag).Option("missingkey=error").Funcs(templateFuncs).Parse(value)
	if err != nil {
		return nil, usagef("--%s: %w", flag, err)
	}
	return t, nil
}

// of returns the text for an object.
func (t *text) of(object map[string]any) (string, error) {
	s, err := t.evaluate(object)
	if err != nil {
		return "", fmt.Errorf("--%s: %w", t.flag, err)
	}
	return s, nil
}

// errNull stands for what a template writes for a null.
var errNull = errors.New("a field is null")

func (t *text) evaluate(object map[string]any) (string, error) {
	if t.parsed == nil {
		return t.fieldOrLiteral(object)
	}
	t.b.Reset()
	if err := t.parsed.Execute(&t.b, object); err != nil {
		return "", err
	}
	if s := t.b.String(); !strings.Contains(s, "<no value>") {
		return s, nil
	}
	return "", errNull
}

// fieldOrLiteral looks whether the object has a field of this name, which must be so for all objects or for none.
func (t *text) fieldOrLiteral(object map[string]any) (string, error) {
	v, ok := object[t.value]
	if t.decided && t.field && !ok {
		return "", fmt.Errorf("there is no field %q, which earlier lines have", t.value)
	}
	if t.decided && !t.field && ok {
		return "", fmt.Errorf("there is a field %q, which earlier lines have not: write {{.%s}} or {{%q}}", t.value, t.value, t.value)
	}
	t.decided, t.field = true, ok
	if !ok {
		return t.value, nil
	}
	switch v := v.(type) {
	case string:
		return v, nil
	case bool, int64, uint64, float64, *big.Int:
		return fmt.Sprint(v), nil
	case nil:
		return "", errNull
	}
	return "", fmt.Errorf("field %q is neither text, number nor boolean", t.value)
}
