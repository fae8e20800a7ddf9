// SPDX-License-Identifier: Apache-2.0
#include "http/error_page.hpp"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "http/joined.hpp"

namespace metatap::http {
namespace {

Response page_for(std::string_view accept, std::string_view method = "GET") {
  const std::array headers{Header{"accept", accept}};
  const Peer peer;
  return error_page({.method = method, .target = "/", .headers = headers, .peer = &peer}, 404);
}

struct Choice {
  std::string_view accept, type;
};

/// What WebOb chose for each header.
TEST(ErrorPage, HasTheFormThatWebObChooses) {
  constexpr std::array kChoices{
      Choice{"", kTextPlain},
      Choice{"*/*", kTextHtml},
      Choice{"text/*", kTextHtml},
      Choice{"TEXT/HTML", kTextHtml},
      Choice{"application/json", kJson},
      Choice{"image/png", kTextPlain},
      Choice{"application/*, text/plain", kJson},
      // Equals go to HTML, whatever comes first.
      Choice{"application/json, text/html", kTextHtml},
      Choice{"application/json,text/html;q=0.9", kJson},
      Choice{"text/html; q=0.5, application/json", kJson},
      Choice{"text/html ; q=0.5 , application/json", kJson},
      Choice{"text/html;Q=0.1, application/json;q=0.2", kJson},
      Choice{"text/html;q=0.,application/json", kJson},
      Choice{"text/html;q=0.123, application/json;q=0.122", kTextHtml},
      Choice{"text/*;q=0.1, */*;q=0.2", kJson},
      Choice{"*/*;q=0", kTextPlain},
      Choice{"*/*;q=0.0, application/json;q=0.001", kJson},
      // The most specific range decides; of two equals the first.
      Choice{"text/html;q=0, */*", kJson},
      Choice{"text/html;q=0, text/html", kTextPlain},
      Choice{"*/html", kTextPlain},
      // A parameter asks for another type than ours, except in a range.
      Choice{"text/html;level=1", kTextPlain},
      Choice{"text/html;level=1, application/json", kJson},
      Choice{"text/html;level=1;q=0, */*;q=0.1", kTextHtml},
      Choice{"application/json;charset=utf-8", kTextPlain},
      Choice{"text/html;a=\"\"", kTextPlain},
      Choice{"text/html;a=\"b,c;q=0\", application/json", kJson},
      Choice{"text/*;a=b;q=0.3, application/*;a=\"x\\\"y\";q=0.4", kJson},
      // After the weight come extensions, which count for nothing.
      Choice{"text/html;q=0.5;ext=1, application/json;q=0.6", kJson},
      Choice{"text/html;q=0.5;ext, application/json;q=0.6", kJson},
      Choice{"text/html;q=0.5;q=0.9, application/json;q=0.6", kJson},
      // Empty elements.
      Choice{",", kTextPlain},
      Choice{",,", kTextPlain},
      Choice{"application/json,", kJson},
      Choice{"application/json, ,", kJson},
      // Malformed, and so as if everything were accepted.
      Choice{"*", kTextHtml},
      Choice{"json", kTextHtml},
      Choice{"application/", kTextHtml},
      Choice{"/json", kTextHtml},
      Choice{",application/json", kTextHtml},
      Choice{"application/json;", kTextHtml},
      Choice{"application/json;ext", kTextHtml},
      Choice{"application/json;a=", kTextHtml},
      Choice{"application/json;a=b c", kTextHtml},
      Choice{"application/json;a=\"x", kTextHtml},
      Choice{"application/json text/plain", kTextHtml},
      Choice{"application/js(on", kTextHtml},
      Choice{"application/json;q=", kTextHtml},
      Choice{"application/json;q=.5", kTextHtml},
      Choice{"application/json;q=abc", kTextHtml},
      Choice{"application/json;q = 0.5", kTextHtml},
      Choice{"application/json;q=1.5", kTextHtml},
      Choice{"application/json;q=1.001", kTextHtml},
      Choice{"application/json;q=1.0000", kTextHtml},
      Choice{"application/json;q=0.1234", kTextHtml},
      Choice{"application/json, image/png;q=2", kTextHtml},
  };
  for (const auto& [accept, type] : kChoices) {
    EXPECT_EQ(page_for(accept).content_type, type) << accept;
  }
}

TEST(ErrorPage, IsWebObsByteForByte) {
  const Peer peer;
  EXPECT_EQ(error_page({.peer = &peer}, 404).body.str(),
            "404 Not Found\n\nThe resource could not be found.\n\n   ");
  EXPECT_EQ(page_for("*/*").body.str(),
            "<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n"
            "  <h1>404 Not Found</h1>\n  The resource could not be found.<br /><br />\n\n\n\n"
            " </body>\n</html>");
  EXPECT_EQ(page_for("application/json").body.str(),
            R"({"message": "The resource could not be found.<br /><br />\n\n\n", )"
            R"("code": "404 Not Found", "title": "Not Found"})");
  const auto head = page_for("application/json", "HEAD");
  EXPECT_EQ(head.content_type, kTextHtml);
  EXPECT_EQ(head.body.size(), 0U);
}

TEST(ErrorPage, SeveralAcceptHeadersAreOneList) {
  const Peer peer;
  const std::array headers{Header{"Accept", "image/png"}, Header{"X", "text/html"},
                           Header{"accept", "application/json"}};
  EXPECT_EQ(joined({.headers = headers, .peer = &peer}, "ACCEPT"), "image/png,application/json");
  EXPECT_EQ(error_page({.headers = headers, .peer = &peer}, 404).content_type, kJson);
  // One that is malformed spoils them all, which counts as accepting everything.
  const std::array spoilt{Header{"Accept", "application/json"}, Header{"Accept", "nonsense"}};
  EXPECT_EQ(error_page({.headers = spoilt, .peer = &peer}, 404).content_type, kTextHtml);
}

TEST(ErrorPage, EscapesItsMessage) {
  const std::array headers{Header{"Accept", "text/html"}};
  const Peer peer;
  EXPECT_NE(error_page({.headers = headers, .peer = &peer}, 400, "a<'b\">&")
                .body.str()
                .find("a&lt;&#x27;b&quot;&gt;&amp;"),
            std::string::npos);
  const std::array json{Header{"Accept", "application/json"}};
  EXPECT_NE(
      error_page({.headers = json, .peer = &peer}, 400, "a\\b\"").body.str().find(R"("a\\b\"<br)"),
      std::string::npos);
}

}  // namespace
}  // namespace metatap::http
