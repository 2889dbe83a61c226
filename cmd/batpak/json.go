package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/batpak/batpak/event"
)

// encodeJSON returns a JSON object or array as CBOR.
func encodeJSON(text []byte) ([]byte, error) {
	v, err := decodeJSON(text)
	if err != nil {
		return nil, err
	}
	switch v.(type) {
	case map[string]any, []any:
		return event.Marshal(v)
	}
	return nil, errors.New("not a JSON object or array")
}

// maxJSONDepth bounds how deep values nest, and so the stack that decoding takes. CBOR has a lower bound of its own.
const maxJSONDepth = 1000

// decodeJSON returns the one JSON value in text, with no loss: integers as int64, uint64 or *big.Int, other numbers as
// float64. Duplicate names, bytes that are not UTF-8, numbers beyond float64 and deep nesting are refused.
func decodeJSON(text []byte) (any, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("invalid JSON: not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	v, err := decodeValue(dec, maxJSONDepth)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		if _, err = dec.Token(); errors.Is(err, io.EOF) {
			return v, nil
		}
		err = errors.New("more follows the value")
	}
	return nil, fmt.Errorf("invalid JSON: %w", err)
}

func decodeValue(dec *json.Decoder, depth int) (any, error) {
	if depth == 0 {
		return nil, fmt.Errorf("nested deeper than %d", maxJSONDepth)
	}
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			return decodeObject(dec, depth-1)
		}
		return decodeArray(dec, depth-1)
	case json.Number:
		return decodeNumber(t)
	}
	return token, nil
}

func decodeObject(dec *json.Decoder, depth int) (map[string]any, error) {
	object := map[string]any{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name := token.(string) // the decoder accepts no other
		if _, twice := object[name]; twice {
			return nil, fmt.Errorf("field %q appears twice", name)
		}
		if object[name], err = decodeValue(dec, depth); err != nil {
			return nil, err
		}
	}
	_, err := dec.Token()
	return object, err
}

func decodeArray(dec *json.Decoder, depth int) ([]any, error) {
	array := []any{}
	for dec.More() {
		v, err := decodeValue(dec, depth)
		if err != nil {
			return nil, err
		}
		array = append(array, v)
	}
	_, err := dec.Token()
	return array, err
}

func decodeNumber(n json.Number) (any, error) {
	s := n.String()
	if strings.ContainsAny(s, ".eE") {
		return strconv.ParseFloat(s, 64)
	}
	if v, err := strconv.ParseInt(s, 10, 64); err == nil {
		return v, nil
	}
	if v, err := strconv.ParseUint(s, 10, 64); err == nil {
		return v, nil
	}
	v, ok := new(big.Int).SetString(s, 10)
	if !ok {
		return nil, fmt.Errorf("number %s", s)
	}
	return v, nil
}
