// What a run of multiple-choice questions says at its end: a table for people, an object for programs.
#pragma once

#include <string>

#include "client/mcq_run.h"
#include "client/terminal.h"
#include "engine/mcq/mcq.h"

namespace switchyard::client {

// Accuracy a judge with 95 % Wilson intervals, the chance level, the rate, and which records were left out and why (the first ten).
std::string McqReport(const McqSet& set, const McqOutcome& outcome, const Style& style);

// The same with every left-out record, as one line of JSON.
std::string McqReportJson(const McqSet& set, const McqOutcome& outcome);

// One question as it was asked, with the figures of every option (--show).
std::string McqExample(const McqAnswer& answer, const PromptTemplates& templates, const Style& style);

}  // namespace switchyard::client
