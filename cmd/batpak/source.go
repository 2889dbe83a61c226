package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// maxLineBytes bounds a line of a source, without its end.
const maxLineBytes = 16 << 20

// A source is a file of lines, or stdin.
type source struct {
	path string // for messages
	name string // in idempotency keys
	line int    // the number of the line read last, from 1
	r    *bufio.Reader
	long []byte // scratch for lines longer than the buffer of r
	file io.Closer
}

// sourceName returns the name of a file in idempotency keys: it is the same whether the file is compressed or not.
func sourceName(path string) string {
	if path == "-" {
		return "stdin"
	}
	return strings.TrimSuffix(filepath.Base(path), ".gz")
}

// openSource opens a file, or takes stdin for "-".
func openSource(path, name string, stdin io.Reader) (*source, error) {
	s := &source{path: path, name: name}
	if path == "-" {
		s.path = "stdin"
		s.r = bufio.NewReaderSize(stdin, 64<<10)
		return s, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s.file = f
	if err := s.read(f, strings.HasSuffix(path, ".gz")); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// read sets what lines are read from.
func (s *source) read(r io.Reader, compressed bool) error {
	if compressed {
		z, err := gzip.NewReader(bufio.NewReader(r))
		if err != nil {
			return err
		}
		r = z
	}
	s.r = bufio.NewReaderSize(r, 64<<10)
	return nil
}

// next returns the next line that is not blank, without its end, valid until the next call. The error at the end is io.EOF.
func (s *source) next() ([]byte, error) {
	for {
		s.line++
		line, err := s.readLine()
		if err != nil {
			return nil, err
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, nil
		}
	}
}

func (s *source) readLine() ([]byte, error) {
	part, err := s.r.ReadSlice('\n')
	if err == nil {
		return part, nil
	}
	s.long = append(s.long[:0], part...)
	for errors.Is(err, bufio.ErrBufferFull) {
		if len(s.long) > maxLineBytes+2 {
			return nil, fmt.Errorf("line is longer than %d MiB", maxLineBytes>>20)
		}
		part, err = s.r.ReadSlice('\n')
		s.long = append(s.long, part...)
	}
	if len(bytes.TrimRight(s.long, "\r\n")) > maxLineBytes {
		return nil, fmt.Errorf("line is longer than %d MiB", maxLineBytes>>20)
	}
	if err == nil || errors.Is(err, io.EOF) && len(s.long) > 0 {
		return s.long, nil
	}
	return nil, err
}

func (s *source) close() {
	if s.file != nil {
		s.file.Close()
	}
}
