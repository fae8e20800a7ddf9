// SPDX-License-Identifier: Apache-2.0
// A fuzzer without clang: each seed of its corpus, each of the seed's beginnings, and some thousand
// inputs made of seeds by changing a few bytes, the same ones in every run.
// METATAP_FUZZ_INPUTS: so many instead.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "fuzz/fuzz.hpp"

namespace metatap::fuzz {
namespace {

using namespace std::literals;

constexpr unsigned long kInputs = 10'000;
constexpr std::size_t kLongest = 16'384;

std::string_view under_test;  // NOLINT: for the signal handler

/// So that the log of a run that died says by what.
void show_input(int signal) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  constexpr std::string_view kTitle = "the input, in hexadecimal digits:\n";
  (void)!::write(STDERR_FILENO, kTitle.data(), kTitle.size());
  for (const unsigned char byte : under_test) {
    const std::array<char, 2> digits{kDigits[byte >> 4U], kDigits[byte & 0xfU]};
    (void)!::write(STDERR_FILENO, digits.data(), digits.size());
  }
  (void)!::write(STDERR_FILENO, "\n", 1);
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void try_input(std::string_view input) {
  // A copy of exactly that size: a sanitizer sees a byte read beyond it.
  const std::vector<std::uint8_t> bytes(input.begin(), input.end());
  under_test = input;
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

/// The folder that has the name of the program: fuzz_request has corpus/request.
std::filesystem::path corpus() {
  const std::string_view name = program_invocation_short_name;
  return std::filesystem::path(METATAP_CORPUS) / name.substr(name.find('_') + 1);
}

std::vector<std::string> seeds() {
  std::vector<std::string> all;
  for (const auto& file : std::filesystem::directory_iterator(corpus())) {
    std::ifstream in(file.path(), std::ios::binary);
    all.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  std::ranges::sort(all);  // directories are in no order
  return all;
}

class Mutator {
 public:
  explicit Mutator(const std::vector<std::string>& seeds) : seeds_(seeds) {}

  std::string next() {
    std::string text = any_seed();
    for (auto changes = below(6) + 1; changes > 0; --changes) {
      change(text);
    }
    text.resize(std::min(text.size(), kLongest));
    return text;
  }

 private:
  std::size_t below(std::size_t end) { return random_() % end; }
  const std::string& any_seed() { return seeds_[below(seeds_.size())]; }
  char any_byte() {
    constexpr auto kTelling = "\0\1\r\n \t\"%:;,/[]{}\\-0159\x7f\x80\xc0\xff"sv;
    return below(3) == 0 ? static_cast<char>(below(256)) : kTelling[below(kTelling.size())];
  }

  void change(std::string& text) {
    const auto at = below(text.size() + 1);
    const auto left = text.size() - at;
    const auto count = std::min(left, below(4) == 0 ? below(left + 1) : below(8));
    switch (below(left == 0 ? 2 : 6)) {
      case 0:
        text.insert(at, 1, any_byte());
        break;
      case 1: {
        const auto& other = any_seed();
        const auto from = below(other.size() + 1);
        text.insert(at, other, from, below(other.size() - from + 1));
        break;
      }
      case 2:
        text[at] = any_byte();
        break;
      case 3:
        text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
        break;
      case 4:
        text.erase(at, count);
        break;
      default:
        text.insert(below(text.size() + 1), text.substr(at, count));
    }
  }

  const std::vector<std::string>& seeds_;
  std::mt19937 random_{20260101};  // NOLINT: the same in every run
};

class Corpus : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE}) {
      std::signal(signal, show_input);
    }
    ASSERT_FALSE(seeds_.empty()) << corpus();
  }
  const std::vector<std::string> seeds_ = seeds();
};

TEST_F(Corpus, EachSeedAndItsBeginnings) {
  for (const auto& seed : seeds_) {
    for (std::size_t size = 0; size <= seed.size(); size += seed.size() < 2048 ? 1 : 37) {
      try_input(std::string_view(seed).substr(0, size));
    }
    try_input(seed);
  }
}

TEST_F(Corpus, SeedsWithAFewBytesChanged) {
  const char* wanted = std::getenv("METATAP_FUZZ_INPUTS");
  Mutator mutator(seeds_);
  for (auto left = wanted == nullptr ? kInputs : std::stoul(wanted); left > 0; --left) {
    try_input(mutator.next());
  }
}

}  // namespace
}  // namespace metatap::fuzz
